"""Why a request to an address that a tenant chose came to nothing, in words for that tenant's admin.

None repeats what was sent, what was answered, or the address, in which a token may stand.
"""

from __future__ import annotations


class OutboundFailure(Exception):
    """``str()`` of it is the reason, without a capital and a full stop, so that it fits behind a colon."""


class AddressRefused(OutboundFailure):
    """It is no address that a request may be sent to, wherever it leads."""


class NotPublic(OutboundFailure):
    def __init__(self) -> None:
        super().__init__("the address is not public")


class NameUnknown(OutboundFailure):
    def __init__(self) -> None:
        super().__init__("the name does not resolve")


class NobodyAnswers(OutboundFailure):
    def __init__(self) -> None:
        super().__init__("nobody answers there")


class CertificateRefused(OutboundFailure):
    """``why``: what is wrong with the certificate of who answers, or with the one that was entered for them."""


class TookTooLong(OutboundFailure):
    def __init__(self, seconds: float) -> None:
        super().__init__(f"took longer than {seconds:g} s")


class TooLarge(OutboundFailure):
    def __init__(self, kilobytes: int) -> None:
        super().__init__(f"answered with more than {kilobytes} kB")


class Redirected(OutboundFailure):
    def __init__(self) -> None:
        super().__init__("redirects to another address, which is not followed: enter the one that answers by itself")


class NotUnderstood(OutboundFailure):
    """Somebody answers, but not as they should: another protocol, half an answer, no JSON."""


class NotSendable(OutboundFailure):
    def __init__(self) -> None:
        super().__init__("a name, password or token has line breaks or other characters that cannot be sent")
