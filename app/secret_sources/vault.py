"""HashiCorp Vault: secrets of a KV engine, version 2, by its documented API.

Configured as Vault's own command is: ``VAULT_ADDR``, ``VAULT_TOKEN``, ``VAULT_NAMESPACE``, ``VAULT_CACERT``. The token
comes from there alone, and not from a file in somebody's home. Its address must be the right one: redirects are not
followed, for the token would go wherever they lead.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from typing import Any, Final

import hvac
import requests

from app.secret_sources.addresses import is_safe, stays_here
from app.secret_sources.failures import Failure, Patience, Refused, Unavailable
from app.secret_sources.reference import VaultSecret

# 412: this node has yet to hear of what was stored a moment ago. 429: more requests than are allowed.
_PASSING: Final = {412, 429}
_NONSENSE: Final = "what answers at VAULT_ADDR is not Vault, or no KV engine of version 2."


def fetch(secret: VaultSecret, environment: Mapping[str, str], patience: Patience) -> Mapping[str, Any]:
    """The fields of the newest version. Raises :class:`Refused` or :class:`Unavailable`."""
    client = _client(environment, patience)
    try:
        response = client.secrets.kv.v2.read_secret_version(
            path=secret.path, mount_point=secret.mount, raise_on_deleted_version=False
        )
    except requests.exceptions.SSLError:
        raise Refused(
            "the certificate of what answers at VAULT_ADDR is not trusted, or it speaks no TLS: correct the address, "
            "or name the file of your authority in VAULT_CACERT."
        ) from None
    except requests.exceptions.Timeout:
        raise Unavailable("Vault did not answer in time.") from None
    except (requests.exceptions.ConnectionError, requests.exceptions.ChunkedEncodingError):
        raise Unavailable("Vault cannot be reached: look at the network, and at VAULT_ADDR.") from None
    finally:
        client.adapter.close()
    body = _json(response)
    if response.status_code != 200:
        raise _failure(response.status_code, body)
    fields = _within(body, "data", "data")
    if not isinstance(fields, dict):
        raise Refused(_NONSENSE)
    return fields


def _client(environment: Mapping[str, str], patience: Patience) -> Any:
    """A client that returns every answer as it is. Raises :class:`Refused` for variables that it cannot use."""
    address, token, namespace, authority = (
        environment.get(name, "").strip() for name in ("VAULT_ADDR", "VAULT_TOKEN", "VAULT_NAMESPACE", "VAULT_CACERT")
    )
    if not address:
        raise Refused("VAULT_ADDR is not set. It says where Vault is, such as https://vault.your-domain:8200.")
    if not _is_address(address):
        raise Refused("VAULT_ADDR must be a URL without user, query or fragment, with https, but for this machine.")
    if not token:
        raise Refused("VAULT_TOKEN is not set, and VAULT_TOKEN_FILE names no file with one.")
    for name, value in (("VAULT_TOKEN", token), ("VAULT_NAMESPACE", namespace)):
        if not re.fullmatch(r"[!-~]*", value):  # what a header cannot hold, the HTTP library would quote in its error
            raise Refused(f"{name} has blanks or other characters that it cannot have. Copy it again.")
    if authority and not os.access(authority, os.R_OK):
        raise Refused("VAULT_CACERT names no file that can be read.")
    session = None  # of the client's own, that goes by the variables of proxies
    if stays_here(address):
        session = requests.Session()
        session.trust_env = False  # else HTTP_PROXY would be handed the token
    return hvac.Client(
        session=session,
        url=address,
        token=token,
        namespace=namespace or None,
        verify=authority or True,
        timeout=(patience.connect, patience.read),
        allow_redirects=False,
        adapter=hvac.adapters.RawAdapter,
        ignore_exceptions=True,
    )


def _is_address(text: str) -> bool:
    return is_safe(text) and not {*"@?#"} & {*text} and re.fullmatch(r"[!-~]+", text) is not None


def _failure(status: int, body: Any) -> Failure:
    """What an answer other than 200 means."""
    if status == 503:
        return Unavailable("Vault is sealed, or not ready (503): vault operator unseal.")
    if status >= 500 or status in _PASSING:
        return Unavailable(f"Vault has trouble, or too much to do ({status}).")
    if 300 <= status < 400:
        return Refused("Vault redirects, which is not followed: set VAULT_ADDR to the address that answers by itself.")
    if status == 403:
        return Refused("Vault refuses it (403): the token has expired, or no policy of it allows to read there.")
    if status == 404 and isinstance(metadata := _within(body, "data", "metadata"), dict):
        if metadata.get("destroyed") is True:
            return Refused("its newest version is destroyed: store the secret again with vault kv put.")
        return Refused("its newest version is deleted: vault kv undelete brings it back.")
    if status == 404:
        return Refused("Vault has no such secret (404): correct mount and path; the mount is a KV engine of version 2.")
    return Refused(f"Vault refuses it ({status}): look at VAULT_ADDR and VAULT_NAMESPACE.")


def _json(response: requests.Response) -> Any:
    try:
        return response.json()
    except (ValueError, RecursionError):
        return None


def _within(body: Any, *names: str) -> Any:
    """What lies in nested objects under these names, or None."""
    for name in names:
        body = body.get(name) if isinstance(body, dict) else None
    return body
