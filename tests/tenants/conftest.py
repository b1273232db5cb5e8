"""An application whose mails arrive."""

from tests.mail.mailbox import mailbox, quick_hashes, settings

__all__ = ["mailbox", "quick_hashes", "settings"]
