"""AWS Secrets Manager and AWS KMS, asked by AWS's own client: with its credentials, wherever it finds them.

That is, in its order: the environment, the files of ``~/.aws``, and what the machine is given as its role (ECS, Elastic
Beanstalk, EC2), for which it waits a second.
"""

from __future__ import annotations

import base64
import binascii
import logging
import os
import re
from collections.abc import Mapping
from typing import Any, Final

import boto3
from botocore import exceptions
from botocore.config import Config
from botocore.parsers import ResponseParserError

from app.secret_sources.addresses import is_safe, stays_here
from app.secret_sources.failures import Failure, Patience, Refused, Unavailable
from app.secret_sources.reference import KmsCiphertext, SecretsManagerSecret

# What passes by itself. AWS's services do not agree on one name.
_BUSY: Final = re.compile(r"Throttl|TooManyRequests|RequestLimitExceeded|SlowDown|InternalService|InternalFailure")
_ADVICE: Final = {
    "ResourceNotFoundException": "there is no such secret in {region}: correct the name or the region",
    "AccessDeniedException": "these credentials may not read it in {region}: allow it in the role's policy",
    "ExpiredTokenException": "the credentials have expired: give new ones",
    "UnrecognizedClientException": "the credentials are not valid: give those of a role or user that exists",
    "InvalidSignatureException": "the credentials are not valid, or the clock of this machine is wrong",
    "InvalidRequestException": "the secret is deleted, or being deleted: aws secretsmanager restore-secret",
    "InvalidCiphertextException": "the ciphertext is incomplete, or of another region than {region}",
    "NotFoundException": "the key of KMS that it was encrypted with is not in {region}",
    "DisabledException": "the key of KMS is disabled: aws kms enable-key",
    "KMSInvalidStateException": "the key of KMS is being deleted, or not ready: aws kms cancel-key-deletion",
}

# Its debug log would hold answers, and so secrets.
logging.getLogger("botocore").setLevel(logging.WARNING)


def fetch(location: SecretsManagerSecret | KmsCiphertext, environment: Mapping[str, str], patience: Patience) -> str:
    """The text that is kept, or sealed, there. Raises :class:`Refused` or :class:`Unavailable`."""
    if (authority := environment.get("AWS_CA_BUNDLE")) and not os.access(authority, os.R_OK):
        raise Refused("AWS_CA_BUNDLE names no file that can be read.")
    region = location.region or environment.get("AWS_REGION") or None
    try:
        client = boto3.session.Session(region_name=region).client(
            "kms" if isinstance(location, KmsCiphertext) else "secretsmanager",
            config=Config(
                connect_timeout=patience.connect,
                read_timeout=patience.read,
                retries={"mode": "standard", "total_max_attempts": 1},  # whoever calls this tries again
                proxies={} if stays_here(environment.get("AWS_ENDPOINT_URL", "")) else None,
            ),
        )
    except exceptions.BotoCoreError as error:
        raise _failure(error) from None
    try:
        if not is_safe(client.meta.endpoint_url):
            raise Refused(
                "AWS_ENDPOINT_URL must be https, but for this machine: a secret must not travel in the clear."
            )
        return _open(client, location) if isinstance(location, KmsCiphertext) else _read(client, location)
    except exceptions.ClientError as error:
        raise _answered(error, client.meta.region_name) from None
    except ResponseParserError:
        raise Refused(_NONSENSE) from None
    except exceptions.BotoCoreError as error:
        raise _failure(error) from None
    finally:
        client.close()


def _read(client: Any, secret: SecretsManagerSecret) -> str:
    answer = client.get_secret_value(SecretId=secret.name)
    if not isinstance(text := answer.get("SecretString"), str):
        raise Refused(
            "the secret is not text: store it with --secret-string." if "SecretBinary" in answer else _NONSENSE
        )
    return text


def _open(client: Any, sealed: KmsCiphertext) -> str:
    try:
        ciphertext = base64.b64decode(sealed.ciphertext, validate=True)
    except binascii.Error:
        raise Refused("the ciphertext is not base64: a character was lost or added. Copy it again.") from None
    if not isinstance(plaintext := client.decrypt(CiphertextBlob=ciphertext).get("Plaintext"), bytes):
        raise Refused(_NONSENSE)
    try:
        return plaintext.decode()
    except UnicodeDecodeError:
        raise Refused("what was encrypted is not text: encrypt the secret as it would be written down.") from None


_NONSENSE: Final = "what answers is not AWS: look at AWS_ENDPOINT_URL, and at the proxy on the way out."


def _answered(error: exceptions.ClientError, region: str) -> Failure:
    """The service has said no, or something in its place has."""
    status = error.response.get("ResponseMetadata", {}).get("HTTPStatusCode") or 0
    code = str(error.response.get("Error", {}).get("Code"))
    if status >= 500 or status == 429 or _BUSY.search(code):
        return Unavailable(f"AWS has trouble, or too much to do ({status}).")
    if not re.fullmatch(r"[A-Za-z][A-Za-z.]{3,80}", code):
        return Refused(_NONSENSE)
    advice = _ADVICE.get(code)
    return Refused(
        f"AWS refuses it ({code}): {advice.format(region=region) if advice else 'see what AWS says of this'}."
    )


def _failure(error: exceptions.BotoCoreError) -> Failure:
    """There was no answer, or none that AWS's client understands, or nothing was asked at all."""
    match error:
        case exceptions.SSLError():
            return Refused(
                "the certificate of what answers is not trusted, or it speaks no TLS: look at AWS_ENDPOINT_URL, and at "
                "the proxy on the way out; AWS_CA_BUNDLE names an authority of your own."
            )
        case exceptions.ConnectTimeoutError() | exceptions.ReadTimeoutError():
            return Unavailable("AWS did not answer in time.")
        case exceptions.ConnectionError() | exceptions.ConnectionClosedError() | exceptions.ResponseStreamingError():
            return Unavailable("AWS cannot be reached: look at the network, and at the region.")
        case exceptions.NoCredentialsError() | exceptions.CredentialRetrievalError():
            return Unavailable(
                "AWS's client has found no credentials: give this machine a role, or set AWS_ACCESS_KEY_ID and "
                "AWS_SECRET_ACCESS_KEY."
            )
        case exceptions.NoRegionError():
            return Refused("no region is known: append ?region=…, or set AWS_REGION.")
    return Refused(f"AWS's client fails with {type(error).__name__}: look at the variables that configure it.")
