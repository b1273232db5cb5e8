"""docs/api.md: its lines for the shell, run as they are printed against a service that was just started."""

import json
import os
import re
import subprocess
import time
from pathlib import Path
from typing import ClassVar

import pyotp
import pytest

from tests.servers import free_port
from tests.test_develop import DEVELOP
from tests.test_serving import started, wait_for_answer

GUIDE = (Path(__file__).parent.parent / "docs/api.md").read_text()
BLOCKS = re.findall(r"^```sh\n(.*?)^```\n(?:```json\n(.*?)^```\n)?", GUIDE, re.MULTILINE | re.DOTALL)
SIGN_IN = next(block for block, _ in BLOCKS if "/api/login" in block)
TAKEN = {
    "access_token": "TOKEN",
    "refresh_token": "REFRESH_TOKEN",
    "webhook_password": "WEBHOOK_PASSWORD",
    "key": "API_KEY",
}
# Prints each answer as one line, whatever it is, and its status as the next.
CURL = 'curl() { command curl -w "\\n%{http_code}\\n" "$@" | tr -s "\\n"; }\n'


class Reader:
    """Somebody who follows the guide, and takes from the answers what it says."""

    # The newest item of a list is the one that is meant; each kind of items has a field of its own.
    LISTED: ClassVar = {
        "user_agent": "SESSION_ID",
        "invited_by": "INVITATION_ID",
        "last_seen_at": "MEMBER_ID",
        "received_at": "CALL_ID",
        "reason": "DELIVERY",
    }

    def __init__(self, port: int, password: str, log: Path) -> None:
        self.password, self.log = password, log
        self.variables = {"URL": f"http://127.0.0.1:{port}"}

    def run(self, block: str) -> list[tuple[int, dict]]:
        """The status and the body of each answer. What the reader fills in is in the environment already."""
        if "$MAILED" in block:
            self._open_mail()
        if "/unreadable-deliveries" in block:
            self._deliver_nonsense()
        self.read = len(self.log.read_text())
        lines = re.sub(r"^(?:[A-Z_]+=\S+ *)+(?:#.*)?\n", "", block, flags=re.MULTILINE)
        lines = lines.replace('"password": "…"', f'"password": "{self.password}"')
        lines = lines.replace('"current_password": "…"', f'"current_password": "{self.password}"')
        done = subprocess.run(
            ["bash", "-c", CURL + lines],
            cwd=self.log.parent,  # for what is downloaded
            env={"PATH": os.environ["PATH"]} | self.variables,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        assert (done.returncode, done.stderr) == (0, ""), block
        return [self._read(answer) for answer in re.findall(r"(.*?)^(\d{3})$", done.stdout, re.MULTILINE | re.DOTALL)]

    def _open_mail(self) -> None:
        """The token of the link that the service has printed for the block before, once it has."""
        for _ in range(300):
            if link := re.search(r"^http\S+#(\S+)$", self.log.read_text()[self.read :], re.MULTILINE):
                self.variables["MAILED"] = link[1]
                return
            time.sleep(0.1)
        raise AssertionError("no mail")

    def _deliver_nonsense(self) -> None:
        """As a phone system does that something wrong was entered at."""
        known = self.variables
        address, credentials = f"{known['URL']}/hooks/demo/{known['ID']}/cdr", f"pbx:{known['WEBHOOK_PASSWORD']}"
        words = ["curl", "-sS", address, "-u", credentials, "-d", "src=1", "-w", "%{http_code}"]
        assert subprocess.run(words, capture_output=True, text=True, check=True).stdout.endswith("422")

    def _read(self, answer: tuple[str, str]) -> tuple[int, dict]:
        body = json.loads(answer[0]) if answer[0].strip() else {}
        self.variables |= {name: body[field] for field, name in TAKEN.items() if body.get(field)}
        if "secret" in body:
            self.variables["CODE"] = pyotp.TOTP(body["secret"]).now()
        if "recovery_codes" in body:
            self.variables["RECOVERY_CODE"] = body["recovery_codes"][0]
        if "key" in body:
            self.variables["API_KEY_ID"] = body["id"]
        if "webhook_password" in body:
            self.variables["ID"] = body["id"]
        for item in reversed(body.get("items", ())):
            for field, name in self.LISTED.items():
                if field in item:
                    self.variables[name] = item["id"]
        if body.get("next"):
            self.variables["CURSOR"] = body["next"]
        return int(answer[1]), body


@pytest.mark.timeout(120)
def test_every_line_works_as_printed(tmp_path):
    port, log = free_port(), tmp_path / "log"
    url = f"sqlite:///{tmp_path / 'audiapro.db'}"
    with started(DEVELOP, log, DATABASE_URL=url, PORT=str(port)) as process:
        wait_for_answer(port, process)
        (password,) = re.findall(r"^  owner +\S+ +(\S+)$", log.read_text(), re.MULTILINE)
        reader, statuses, signed_out = Reader(port, password, log), [], False
        for block, shown in BLOCKS:
            if "Bearer $TOKEN" in block and signed_out:
                reader.run(SIGN_IN)
            answers = reader.run(block)
            signed_out = bool(re.search("/api/logout|DELETE .URL/api/sessions|password-reset/confirm", block))
            assert len(answers) == len(re.findall(r"^curl ", block, re.MULTILINE))
            statuses += [status for status, _ in answers]
            if '"version": 4' in block:  # once as promised, and once more, when it is outdated
                answers = reader.run(block)
                assert [status for status, _ in answers] == [409]
            if shown:
                assert answers[-1][1].keys() == json.loads(shown).keys()
    assert set(statuses) == {200, 201, 202, 204}
    assert len(statuses) > 12
