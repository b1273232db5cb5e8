"""A HashiCorp Vault with KV engines of version 2, as far as its documented API for reading secrets goes."""

import json
import secrets
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

from tests.servers.http import Answer, Asked, HttpServer

CREATED = "2026-01-02T03:04:05.678901Z"


class Vault(HttpServer):
    """``put`` stores a new version, ``delete`` and ``destroy`` do that to the newest one; ``sealed`` may be set.

    token: of whoever may read everything; ``weak_token`` is valid, and may read nothing.
    """

    def __init__(self, certificate: Path | None = None) -> None:
        self.token, self.weak_token = (f"hvs.{secrets.token_urlsafe(24)}" for _ in range(2))
        self.sealed = False
        self._mounts: dict[tuple[str, str], dict[str, list[dict[str, Any]]]] = {}
        super().__init__(self._answer, certificate)

    def put(self, path: str, mount: str = "secret", namespace: str = "", **fields: Any) -> None:
        versions = self._mounts.setdefault((namespace, mount), {}).setdefault(path, [])
        metadata = {"created_time": CREATED, "custom_metadata": {"owner": "acme"}, "deletion_time": ""}
        metadata |= {"destroyed": False, "version": len(versions) + 1}
        versions.append({"data": fields, "metadata": metadata})

    def delete(self, path: str, mount: str = "secret") -> None:
        newest = self._mounts["", mount][path][-1]
        newest["data"] = None
        newest["metadata"]["deletion_time"] = CREATED

    def destroy(self, path: str, mount: str = "secret") -> None:
        newest = self._mounts["", mount][path][-1]
        newest["data"] = None
        newest["metadata"]["destroyed"] = True

    def _answer(self, asked: Asked) -> Answer:
        if self.sealed:
            return _errors(503, "Vault is sealed")
        token = asked.headers["X-Vault-Token"]
        if token is None:
            return _errors(400, "missing client token")
        if token not in (self.token, self.weak_token):
            return _errors(403, "2 errors occurred:\n\t* permission denied\n\t* invalid token\n\n")
        version, mount, kind, *rest = unquote(urlsplit(asked.path).path).removeprefix("/").split("/")
        engine = self._mounts.get((asked.headers.get("X-Vault-Namespace", ""), mount))
        if version != "v1" or engine is None:
            return _errors(404, f'no handler for route "{mount}/data/". route entry not found.')
        if token == self.weak_token:
            return _errors(403, "1 error occurred:\n\t* permission denied\n\n")
        versions = engine.get("/".join(rest), []) if kind == "data" else []
        if not versions:
            return _errors(404)
        body = {"request_id": secrets.token_hex(16), "lease_id": "", "renewable": False, "lease_duration": 0}
        body |= {"data": versions[-1], "wrap_info": None, "warnings": None, "auth": None, "mount_type": "kv"}
        return Answer(404 if versions[-1]["data"] is None else 200, json.dumps(body).encode())


def _errors(status: int, *errors: str) -> Answer:
    return Answer(status, json.dumps({"errors": errors}).encode())
