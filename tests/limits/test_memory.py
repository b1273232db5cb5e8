"""Counting without Redis: as with it, by whole windows."""

import threading
import time
from types import SimpleNamespace

import pytest
from limits import parse
from limits.storage import RedisStorage
from limits.strategies import FixedWindowRateLimiter

from app.limits import memory
from app.limits.memory import SECONDS_BETWEEN_SWEEPS, Memory


@pytest.fixture(params=["memory", "redis"])
def limiter(request):
    return FixedWindowRateLimiter(
        Memory() if request.param == "memory" else RedisStorage(request.getfixturevalue("redis_url"))
    )


@pytest.fixture
def clock(monkeypatch):
    clock = SimpleNamespace(now=1_000_000.0)
    monkeypatch.setattr(memory, "time", SimpleNamespace(time=lambda: clock.now))
    return clock


def test_a_window_begins_with_the_first_of_those_that_count_in_it_and_takes_in_what_is_allowed(limiter):
    item = parse("3 per minute")
    assert limiter.get_window_stats(item, "alice").remaining == 3
    assert [limiter.hit(item, "alice") for _ in range(4)] == [True, True, True, False]
    assert limiter.hit(item, "bob", cost=3)
    assert not limiter.test(item, "alice")
    assert limiter.get_window_stats(item, "alice").remaining == 0
    assert time.time() + 50 < limiter.get_window_stats(item, "alice").reset_time <= time.time() + 60
    limiter.clear(item, "alice")
    assert limiter.test(item, "alice")
    assert not limiter.test(item, "bob")
    limiter.storage.reset()
    assert limiter.test(item, "bob")


def test_the_next_window_begins_anew(limiter):
    item = parse("1 per second")
    assert limiter.hit(item, "alice")
    assert not limiter.hit(item, "alice")
    over_at = limiter.get_window_stats(item, "alice").reset_time
    time.sleep(max(0, over_at - time.time()) + 0.05)
    assert limiter.test(item, "alice")
    assert limiter.hit(item, "alice")
    assert not limiter.hit(item, "alice")


def test_threads_that_count_at_once_miss_none():
    storage, barrier = Memory(), threading.Barrier(8)

    def count():
        barrier.wait()
        for _ in range(2_000):
            storage.incr("alice", 60)

    threads = [threading.Thread(target=count) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert storage.get("alice") == 16_000


def test_what_is_over_is_forgotten_by_and_by(clock):
    storage = Memory()
    for number in range(1_000):
        storage.incr(f"address {number}", 5)
    storage.incr("alice", 3_600)
    clock.now += SECONDS_BETWEEN_SWEEPS
    storage.incr("bob", 60)
    assert storage.reset() == 2


def test_counting_starts_no_thread(clock):
    storage, before = Memory(), threading.active_count()
    storage.incr("alice", 60)
    assert threading.active_count() <= before
