"""The rotation without downtime of docs/key-rotation.md, from the first step to the last, with the service in use."""

import itertools
import json
import os
import subprocess
import sys
import threading
import time
from base64 import b64encode
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from urllib.parse import parse_qsl, urlencode

import pytest
import requests
from sqlalchemy import select

from app.config import PROJECT
from app.phone_systems.models import PhoneSystem
from app.tenants.models import Tenant
from tests.data import captured_body
from tests.rotation.world import NEW, OLD, World, assert_survived, key_id
from tests.servers import free_port

LOGIN = "owner@acme.example"
PASSWORD = "correct horse battery staple"
SECONDS = 60


class Server:
    """gunicorn with one worker, as one machine of several."""

    def __init__(self, world: World, log) -> None:
        self.world, self.log, self.port = world, log, free_port()
        self.url = f"http://127.0.0.1:{self.port}"

    def start(self, *keys: str) -> None:
        variables = self.world.environment(*keys, PORT=str(self.port), WEB_CONCURRENCY="1", REDIS_URL="")
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "gunicorn", "wsgi:app"],
                cwd=PROJECT,
                env=os.environ | variables,
                stdout=log,
                stderr=log,
            )
        deadline = time.monotonic() + SECONDS
        while self.ready() != 200:
            assert self.process.poll() is None, self.log.read_text()
            assert time.monotonic() < deadline, "it does not get ready"
            time.sleep(0.05)

    def ready(self) -> int:
        try:
            return requests.get(f"{self.url}/readyz", timeout=SECONDS).status_code
        except requests.ConnectionError:
            return 0

    def restart(self, *keys: str) -> None:
        self.stop()
        self.start(*keys)

    def stop(self) -> None:
        self.process.terminate()
        self.process.wait(SECONDS)


def stop_together(servers: list[Server]) -> None:
    """Each takes its time, so that nobody waits for one after the other."""
    for server in servers:
        server.process.terminate()
    for server in servers:
        server.process.wait(SECONDS)


class Clients:
    """What goes on all the time. Like a load balancer they take the other server when one does not answer.

    answers: how often which server has answered with which status. acknowledged: what must not be lost.
    """

    def __init__(self, servers: list[Server], token: str, phone_systems: list[dict], subdomain: str) -> None:
        self.servers, self.phone_systems, self.subdomain = servers, phone_systems, subdomain
        self.token = {"Authorization": f"Bearer {token}"}
        self.over = threading.Event()
        self.answers: Counter[tuple[Server, str, int]] = Counter()
        self.passwords: dict[str, str] = {}
        self.deliveries: set[str] = set()

    @contextmanager
    def at_work(self):
        with ThreadPoolExecutor(2) as pool:
            both = [pool.submit(self.write_passwords), pool.submit(self.deliver_calls)]
            try:
                yield
            finally:
                self.over.set()
                for client in both:
                    client.result(SECONDS)

    def numbers(self) -> Iterator[int]:
        """From 0 until all is over, at a pace that leaves the servers some of the machine."""
        return itertools.takewhile(lambda _: not self.over.wait(0.02), itertools.count())

    def write_passwords(self) -> None:
        for number in self.numbers():
            phone_system = self.phone_systems[number % len(self.phone_systems)]
            password = f"password {number}"
            path = f"/api/phone-systems/{phone_system['id']}"
            answer = self.ask("PATCH", path, number, json={"password": password}, headers=self.token)
            assert answer.status_code == 200, answer.text
            self.passwords[phone_system["id"]] = password

    def deliver_calls(self) -> None:
        call = dict(parse_qsl(captured_body("asterisk/answered.http").decode(), keep_blank_values=True))
        for number in self.numbers():
            phone_system = self.phone_systems[number % len(self.phone_systems)]
            credentials = f"{phone_system['webhook_username']}:{phone_system['webhook_password']}"
            headers = {
                "Authorization": f"Basic {b64encode(credentials.encode()).decode()}",
                "Content-Type": "application/x-www-form-urlencoded",
            }
            body = urlencode(call | {"uniqueid": f"1700000000.{number}"})
            path = f"/hooks/{self.subdomain}/{phone_system['id']}/cdr"
            answer = self.ask("POST", path, number, data=body, headers=headers)
            assert answer.status_code in (200, 201), answer.text
            self.deliveries.update(answer.json()["ids"])

    def ask(self, method: str, path: str, number: int, **what) -> requests.Response:
        """Servers take turns. A request without an answer is made again: who makes it cannot know what came of it."""
        deadline = time.monotonic() + SECONDS
        for server in itertools.cycle(self.servers[number % 2 :] + self.servers[: number % 2]):
            assert time.monotonic() < deadline
            try:
                answer = requests.request(method, server.url + path, timeout=SECONDS, **what)
            except requests.ConnectionError:
                continue
            self.answers[server, method, answer.status_code] += 1
            return answer
        raise AssertionError

    def wait_for_more(self) -> None:
        """Until each server has answered each client three times more."""
        before = Counter(self.answers)
        deadline = time.monotonic() + SECONDS
        while not all(
            sum((self.answers - before)[server, method, status] for status in (200, 201)) >= 3
            for server in self.servers
            for method in ("PATCH", "POST")
        ):
            assert time.monotonic() < deadline, "a client is stuck"
            time.sleep(0.01)


@pytest.mark.timeout(300)
def test_keys_are_rotated_step_by_step_while_the_service_is_used(on_postgres, commands, tmp_path):
    world = on_postgres.fill(rows=40)
    tenant = ("create-tenant", "--name", "Acme", "--subdomain", "acme", "--admin-email", LOGIN)
    assert world.flask(*tenant, keys=(OLD,), stdin=f"{PASSWORD}\n").status == 0
    servers = [Server(world, tmp_path / f"server-{n}.log") for n in range(2)]
    stale = Server(world, tmp_path / "stale.log")
    with ExitStack() as stack:
        running: list[Server] = []
        stack.callback(stop_together, running)
        for server in servers:
            server.start(OLD)
            running.append(server)
        token = requests.post(
            f"{servers[0].url}/api/login", json={"email": LOGIN, "password": PASSWORD}, timeout=SECONDS
        ).json()["access_token"]
        phone_systems = [make_phone_system(servers[0], token) for _ in range(4)]
        clients = Clients(servers, token, phone_systems, "acme")
        with clients.at_work():
            clients.wait_for_more()

            # 1. The new key opens, everywhere.
            for server in servers:
                server.restart(OLD, NEW)
                clients.wait_for_more()
            stale.start(OLD, NEW)  # and is forgotten in step 2
            running.append(stale)

            # 2. It seals. Meanwhile one server still seals with the old one, and both open what the other has sealed.
            for server in servers:
                server.restart(NEW, OLD)
                clients.wait_for_more()
            assert key_id(OLD) in world.key_ids()

            # 3.
            outcome = commands.rotate(world, "--json", "--workers", "2", "--batch-size", "10")
            assert (outcome.status, outcome.json["remaining"]) == (0, 0), outcome.err
            clients.wait_for_more()

            # 4.
            assert world.flask("encryption", "retire", key_id(OLD)).status == 0
            clients.wait_for_more()

            # 5.
            for server in servers:
                server.restart(NEW)
                clients.wait_for_more()

        late = requests.patch(
            f"{stale.url}/api/phone-systems/{phone_systems[0]['id']}",
            json={"password": "under a key that is retired"},
            headers=clients.token,
            timeout=SECONDS,
        )
        assert late.status_code == 503
        assert stale.ready() == 503
        assert {status for _, _, status in clients.answers} <= {200, 201}, "nothing else was ever answered"

    with world.process(NEW) as session:
        for phone_system in phone_systems:
            written = session.get(PhoneSystem, phone_system["id"])
            assert written.password == clients.passwords[phone_system["id"]]
            assert written.webhook_password == phone_system["webhook_password"]
            world.commit(session, written)
        world.commit(session, session.scalars(select(Tenant).where(Tenant.subdomain == "acme")).one())
    assert {str(row) for (row,) in world.sql("SELECT id FROM calls")} == clients.deliveries
    assert_survived(world, NEW)


def make_phone_system(server: Server, token: str) -> dict:
    answer = requests.post(
        f"{server.url}/api/phone-systems",
        json={"name": "PBX", "vendor": "asterisk"},
        headers={"Authorization": f"Bearer {token}"},
        timeout=SECONDS,
    )
    assert answer.status_code == 201, answer.text
    return json.loads(answer.text)
