"""A server as an operator starts it, with a database of its own, for a browser."""

import os
import re
import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from app.config import PROJECT
from tests.servers import free_port
from tests.test_serving import GUNICORN, environment, wait_for_answer

MAIL = re.compile(r"^-{30} mail\nFrom: .*\nTo: (.*)\nSubject: (.*)\n\n((?:.*\n)*?)-{30}$", re.MULTILINE)


@dataclass(frozen=True)
class Mail:
    to: str
    subject: str
    text: str

    @property
    def link(self) -> str:
        """The one with a token in it."""
        (link,) = re.findall(r"http://\S+#\S+", self.text)
        return link


class Served:
    """A running server. ``url``: without a slash at its end."""

    def __init__(self, port: int, log: Path) -> None:
        self.url = f"http://127.0.0.1:{port}"
        self._log = log
        self._read: set[int] = set()  # mails that somebody got, by their place in the log

    def next_mail(self, to: str) -> Mail:
        """The first mail to an address that was not asked for yet. Waits for it: mail is sent beside the request."""
        for _ in range(200):
            for mail in MAIL.finditer(self._log.read_text()):
                if mail[1] == to and mail.start() not in self._read:
                    self._read.add(mail.start())
                    return Mail(*mail.groups())
            time.sleep(0.05)
        raise AssertionError(f"no mail to {to}")


@contextmanager
def serving(log: Path, **variables: str) -> Iterator[Served]:
    """A server with one process that prints its mail to ``log``, where all that it says is."""
    port = free_port()
    variables |= {"PORT": str(port), "WEB_CONCURRENCY": "1"}
    with log.open("wb") as output:
        process = subprocess.Popen(
            GUNICORN,
            cwd=PROJECT,
            env=environment(**variables),
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    try:
        wait_for_answer(port, process)
        yield Served(port, log)
    finally:
        # All of it at once: nothing that it could put in order is needed again, and that takes it more than a second.
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
