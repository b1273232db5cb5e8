"""Whose certificates are trusted: those of the system's authorities, or of the ones that a tenant has entered instead.

There is no way to trust any certificate, and none to leave the name in it unchecked.
"""

from __future__ import annotations

import ssl
from typing import Final

from cryptography import x509

from app.outbound.failures import CertificateRefused

LONGEST_PEM: Final = 65_536

# By OpenSSL's numbers: https://docs.openssl.org/3.0/man3/X509_STORE_CTX_get_error/
_REASONS: Final = {
    9: "it is not valid yet",
    10: "it has expired",
    18: "it is signed by itself",
    19: "its authority is not known",
    20: "its authority is not known",
    21: "its authority is not known",
    62: "it is for another name",
    64: "it is for another address",
}


def system_context() -> ssl.SSLContext:
    """Trusts whom this machine trusts. Reading them takes a moment: keep it."""
    context = _context()
    context.load_default_certs()
    return context


def pinned_context(pem: str) -> ssl.SSLContext:
    """Trusts these certificates and whatever is signed by them, and nothing else. They need not be of authorities.

    Raises :class:`CertificateRefused` as :func:`check_pem` does.
    """
    check_pem(pem)
    context = _context()
    context.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN  # what is entered is trusted, whoever has signed that
    context.load_verify_locations(cadata=pem)
    return context


def check_pem(pem: str) -> None:
    """Raises :class:`CertificateRefused` unless this is one or more certificates in PEM, and no private key."""
    if "PRIVATE KEY" in pem:
        raise CertificateRefused("what was entered holds a private key, too: enter the certificate alone")
    try:
        if len(pem) > LONGEST_PEM or not x509.load_pem_x509_certificates(pem.encode("ascii")):
            raise ValueError
    except ValueError:
        raise CertificateRefused(
            "what was entered is no certificate in PEM, which begins with -----BEGIN CERTIFICATE-----"
        ) from None


def not_trusted(error: ssl.SSLCertVerificationError) -> CertificateRefused:
    """What is wrong, in plain words."""
    return CertificateRefused(
        f"the certificate is not trusted: {_REASONS.get(error.verify_code, str(error.verify_message))}"
    )


def _context() -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)  # which verifies certificate and name
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    return context
