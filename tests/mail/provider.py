"""A mail provider: a real HTTP server that follows Resend's documented API, idempotency keys included."""

import json
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from email.message import Message
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from uuid import uuid4

from tests.servers.process import LOOPBACK, Closing

API_KEY = "re_Kq7canary2XvP9s_Lw4Zt8Rb"

Answer = tuple[int, dict[str, Any] | list[Any] | str]


@dataclass
class Provider(Closing):
    """Listens from the start. ``asked``: headers and body of every request; ``accepted``: mails and their ids, by key.

    planned: what the next requests are answered with, in turn. before_answer: called when a request was dealt with, and
    only its answer is missing.
    """

    asked: list[tuple[Message, Any]] = field(default_factory=list)
    accepted: dict[str, tuple[Any, str]] = field(default_factory=dict)
    planned: list[Answer] = field(default_factory=list)
    before_answer: Callable[[], Any] = lambda: None

    def __post_init__(self) -> None:
        provider, self._lock = self, threading.Lock()

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                with provider._lock:
                    provider.asked.append((self.headers, body))
                    planned = provider.planned.pop(0) if provider.planned else None
                    status, answer = planned or provider._answer(self.path, self.headers, body)
                provider.before_answer()
                text = answer if isinstance(answer, str) else json.dumps(answer)
                self.send_response(status)
                self.send_header("Content-Type", "text/html" if isinstance(answer, str) else "application/json")
                self.send_header("Content-Length", str(len(text)))
                if status in (307, 308):
                    self.send_header("Location", provider.url + "/elsewhere")
                self.end_headers()
                self.wfile.write(text.encode())

            def log_message(self, format: str, *args: Any) -> None:
                pass

        class Server(ThreadingHTTPServer):
            daemon_threads = True

            def handle_error(self, request: Any, client_address: Any) -> None:
                """The client is gone, as some tests want it."""

        self._server = Server((LOOPBACK, 0), Handler)
        self.url = f"http://{LOOPBACK}:{self._server.server_port}"
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.02})
        self._thread.start()

    @property
    def mails(self) -> list[Any]:
        """What people get."""
        return [mail for mail, _ in self.accepted.values()]

    def close(self) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()

    def _answer(self, path: str, headers: Message, mail: Any) -> Answer:
        key = headers["Idempotency-Key"]
        if path != "/emails":
            return error(404, "not_found", "The requested endpoint does not exist")
        if headers["Authorization"] != f"Bearer {API_KEY}":
            return error(403, "invalid_api_key", "API key is invalid")
        if not {"from", "to", "subject", "text", "html"} <= mail.keys() or not isinstance(mail["to"], list):
            return error(422, "missing_required_field", "The request body is missing one or more required fields")
        if not 1 <= len(key or "") <= 256:
            return error(400, "invalid_idempotency_key", "The key must be between 1-256 chars")
        sent, mail_id = self.accepted.setdefault(key, (mail, str(uuid4())))
        if sent != mail:
            return error(409, "invalid_idempotent_request", "The key was used with another payload")
        return 200, {"id": mail_id}


def error(status: int, name: str, message: str) -> Answer:
    return status, {"statusCode": status, "name": name, "message": message}
