"""Where the workers of one server count together: each in files of its own, in a folder of the server's.

Whichever of them is asked answers for all. What a worker has counted stays when it ends, but for what is about living
ones alone.
"""

from __future__ import annotations

import atexit
import fcntl
import logging
import os
import shutil
import tempfile
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Final

from flask import Flask
from prometheus_client import ProcessCollector, values
from prometheus_client.metrics_core import GaugeMetricFamily, Metric
from prometheus_client.mmap_dict import MmapedDict
from prometheus_client.multiprocess import MultiProcessCollector, mark_process_dead
from prometheus_client.registry import Collector

from app.metrics.counted import Counted

log = logging.getLogger(__name__)

# In memory, and there also where the root file system can only be read.
MEMORY: Final = Path("/dev/shm")  # noqa: S108
_VARIABLE: Final = "PROMETHEUS_MULTIPROC_DIR"  # where the library looks

_folder: Path | None = None

# Only a server that asks for it (share_among_workers) counts in files, in its own folder. Left to the library, whoever
# has the variable in the environment does, such as a command: in a folder that may not be there, or is not cleaned up.
for _name in (_VARIABLE, _VARIABLE.lower()):
    os.environ.pop(_name, None)
values.ValueClass = values.MutexValue


def share_among_workers() -> None:
    """Count so from now on. For a server, before it loads the application; once more, as when it is told to load its
    configuration anew, changes nothing. The folder is fresh, for its owner alone, and goes with the server."""
    global _folder
    if _folder is not None:
        return
    in_memory = os.access(MEMORY, os.W_OK | os.X_OK)
    _folder = Path(tempfile.mkdtemp(prefix="audiapro-metrics-", dir=MEMORY if in_memory else None))
    atexit.register(_remove, _folder, os.getpid())
    os.environ[_VARIABLE] = str(_folder)
    values.ValueClass = values.MultiProcessValue()


def _remove(folder: Path, owner: int) -> None:
    if os.getpid() == owner:  # a worker, which ends in the same way, leaves it to its server
        shutil.rmtree(folder, ignore_errors=True)


def folder() -> Path | None:
    """What the workers of this server have in common; None where there is only one process."""
    return _folder


def begin(app: Flask) -> None:
    """This process lives, and serves: also before it has counted anything. Called by a worker, once it was forked."""
    assert _folder is not None
    figures: Counted = app.extensions["metrics"]
    with _locked(_folder, fcntl.LOCK_EX):  # its files are made here
        figures.pool_in_use.set(0)


def forget(pid: int) -> None:
    """A process does not live, or serve, any more: what it uses is gone. What it has counted stays, in one file for all
    that have ended: workers that die again and again would fill the folder. Called by the server alone."""
    assert _folder is not None
    mark_process_dead(pid)
    with suppress(BlockingIOError), _locked(_folder, fcntl.LOCK_EX | fcntl.LOCK_NB):  # else it stays where it is
        for kind in ("counter", "histogram"):
            own = _folder / f"{kind}_{pid}.db"
            try:
                _add_up(own, _folder / f"{kind}_ended.db")
            except FileNotFoundError:  # it has counted nothing
                pass
            except Exception as error:  # of a process that was killed in the midst of it; the server must not end too
                log.error("what an ended worker has counted is lost: %s", type(error).__name__)
            own.unlink(missing_ok=True)


def _add_up(one: Path, all_ended: Path) -> None:
    counts = list(MmapedDict.read_all_values_from_file(str(one)))
    ended = MmapedDict(str(all_ended))
    for key, value, _, _ in counts:
        ended.write_value(key, ended.read_value(key)[0] + value, 0.0)
    ended.close()


@contextmanager
def _locked(folder: Path, how: int) -> Iterator[None]:
    """So that nobody reads a file that is being made, or twice what is being moved from one to another. Raises
    BlockingIOError if asked not to wait."""
    with (folder / "lock").open("a") as file:
        fcntl.flock(file, how)
        yield


def of_all_workers(own: Collector) -> Iterator[Collector]:
    """What all of them have counted, and what they use. own: what this process has counted."""
    yield own if _folder is None else Workers(_folder)
    yield Processes()


class Workers(Collector):
    """What all workers have counted, those that ended included."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def collect(self) -> Iterable[Metric]:
        with _locked(self._folder, fcntl.LOCK_SH):
            return list(MultiProcessCollector(None, str(self._folder)).collect())


class Processes(Collector):
    """What the library tells about a process, of all that live and serve: their sum, and when the first was started."""

    _TOGETHER: Final[dict[str, Callable[[list[float]], float]]] = {
        "process_resident_memory_bytes": sum,
        "process_cpu_seconds": sum,
        "process_open_fds": sum,
        "process_start_time_seconds": min,
    }

    def collect(self) -> Iterator[Metric]:
        pids = _living()
        yield GaugeMetricFamily("audiapro_workers", "Processes that serve.", len(pids))
        found: dict[str, list[Metric]] = {name: [] for name in self._TOGETHER}
        for pid in pids:
            for family in ProcessCollector(pid=lambda pid=pid: pid, registry=None).collect():  # type: ignore[misc]
                if family.name in found:
                    found[family.name].append(family)
        for name, families in found.items():
            if families:
                (sample,) = families[0].samples
                value = self._TOGETHER[name]([family.samples[0].value for family in families])
                families[0].samples = [sample._replace(value=value)]
                yield families[0]


def _living() -> list[str]:
    if _folder is None:
        return ["self"]
    return [file.stem.rpartition("_")[2] for file in _folder.glob("gauge_livesum_*.db")]
