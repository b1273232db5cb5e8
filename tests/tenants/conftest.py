"""An application whose mails arrive."""

from tests.mail.mailbox import mailbox, settings

__all__ = ["mailbox", "settings"]
