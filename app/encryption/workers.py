"""Work shared by several processes, which end when the one that started them is gone."""

from __future__ import annotations

import gc
import multiprocessing
import os
import signal
import sys
from collections.abc import Callable, Iterator, Sequence
from multiprocessing.connection import Connection, wait
from multiprocessing.context import ForkProcess, SpawnProcess
from typing import TypeVar, cast

Share = TypeVar("Share")
Message = TypeVar("Message")


class WorkerFailed(Exception):
    """A worker ended before its work did. The message says why; what it had committed stays."""


def share_out(work: Callable[[Share], Iterator[Message]], shares: Sequence[Share]) -> Iterator[Message]:
    """Run ``work`` on every share, a process each, and yield what it yields, in the order in which it comes.

    A single share is worked on in this process. ``work`` is a module-level function; shares and messages are pickled
    where the platform does not fork. Raises :class:`WorkerFailed`; then, and whenever the caller stops iterating, the
    other workers are terminated.
    """
    gc.freeze()  # what is loaded by now stays: from here on, garbage is looked for among the work's objects only
    if len(shares) == 1:
        yield from work(shares[0])
        return
    # Not the platform's choice: behind a fork server, a worker would not see who started it go.
    context = multiprocessing.get_context("fork") if sys.platform == "linux" else multiprocessing.get_context("spawn")
    workers: list[tuple[ForkProcess | SpawnProcess, Connection]] = []
    try:
        for share in shares:
            receiver, sender = context.Pipe(duplex=False)
            receivers = [*(earlier for _, earlier in workers), receiver]
            inherited = receivers if context.get_start_method() == "fork" else []
            worker = context.Process(target=_work, args=(work, share, sender, inherited, os.getpid()), daemon=True)
            worker.start()
            sender.close()
            workers.append((worker, receiver))
        receivers = [receiver for _, receiver in workers]
        while receivers:
            for ready in cast("list[Connection]", wait(receivers)):
                try:
                    finished, message = ready.recv()
                except EOFError:
                    raise WorkerFailed("a worker process was killed") from None
                if finished:
                    receivers.remove(ready)
                    if message is not None:
                        raise WorkerFailed(message)
                else:
                    yield message
    finally:
        for worker, _ in workers:
            worker.terminate()
        for worker, receiver in workers:
            worker.join()
            receiver.close()


def _work(
    work: Callable[[Share], Iterator[Message]],
    share: Share,
    sender: Connection,
    inherited: Sequence[Connection],
    parent: int,
) -> None:
    for receiver in inherited:  # or a worker that waits for its message to be read would not see its reader go
        receiver.close()
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the parent, which ends the workers
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    failure = None
    try:
        for message in work(share):
            sender.send((False, message))
            if os.getppid() != parent:
                os._exit(1)
    except BrokenPipeError:
        os._exit(1)
    except WorkerFailed as error:
        failure = str(error)
    except Exception as error:  # its text may hold a driver's parameters: only what kind of error it was is told
        failure = f"a worker process failed: {type(getattr(error, 'orig', None) or error).__name__}"
    sender.send((True, failure))
