"""Commands as processes of their own that can be killed, stopped at a point, and given too little room on the disk.

Starting Python takes a second. One process, started as ``python -m tests.rotation.driver``, has everything imported and
forks another one for every command that it reads from standard input.
"""

import gc
import json
import multiprocessing
import os
import resource
import signal
import socket
import sys
from contextlib import ExitStack, nullcontext
from functools import cache
from typing import Any, NoReturn

from flask import Flask
from sqlalchemy import create_engine
from sqlalchemy.orm import configure_mappers

from app import create_app
from app.config import load_settings
from tests.rotation.points import Point, points

MOST_SECONDS = 100


def main() -> None:
    multiprocessing.set_start_method("fork")  # the default of some systems would leave the faults behind
    warm_up()
    for line in sys.stdin:
        request = json.loads(line)
        if "wait" in request:
            answer = os.waitstatus_to_exitcode(os.waitpid(request["wait"], 0)[1])
        else:
            app = make_app(**request["environment"])
            answer = os.fork()
            if answer == 0:
                run(app, request)
        print(request["number"], answer, flush=True)


def warm_up() -> None:
    """Have everything loaded that the first command would load, and never again look for garbage in it."""
    configure_mappers()
    for url in ("sqlite://", "postgresql+psycopg://"):
        create_engine(url)
    gc.collect()
    gc.freeze()


@cache
def make_app(**environment: str) -> Flask:
    """The application, kept for the many commands that get the same environment. Has connected to nothing yet."""
    return create_app(load_settings(environment, env_file=None))


def run(app: Flask, request: dict[str, Any]) -> NoReturn:
    """The command ``request["command"]``, in a process group of its own."""
    os.setsid()
    signal.alarm(MOST_SECONDS)
    for descriptor, name, flags in (
        (0, os.devnull, os.O_RDONLY),
        (1, request["out"], os.O_WRONLY | os.O_CREAT | os.O_TRUNC),
        (2, request["err"], os.O_WRONLY | os.O_CREAT | os.O_TRUNC),
    ):
        os.dup2(os.open(name, flags, 0o600), descriptor)
    if limit := request.get("file_size"):
        resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))
    with ExitStack() as faults:
        faults.enter_context(points(kill(*request["kill"])) if "kill" in request else nullcontext())
        faults.enter_context(points(log(request["log"])) if "log" in request else nullcontext())
        faults.enter_context(points(stop(*request["stop"])) if "stop" in request else nullcontext())
        with app.app_context():
            app.cli.main(request["command"], prog_name="flask")
    raise AssertionError("click ends the process")


def kill(process: str, number: int) -> Any:
    def act(point: Point) -> None:
        if (point.process, point.number) == (process, number):
            os.kill(os.getpid(), signal.SIGKILL)

    return act


def log(path: str) -> Any:
    def act(point: Point) -> None:
        with open(path, "a") as file:  # one write, so that processes do not interleave
            file.write(json.dumps(point) + "\n")

    return act


def stop(process: str, moment: str, statement: str, port: int) -> Any:
    """At the first such statement report to a port that the test listens on, and wait for its answer."""
    reached = False

    def act(point: Point) -> None:
        nonlocal reached
        if not reached and (point.process, point.moment) == (process, moment) and statement in point.statement:
            reached = True
            with socket.create_connection(("127.0.0.1", port)) as test:
                test.sendall(b"!")
                test.recv(1)

    return act


if __name__ == "__main__":
    main()
