"""The background worker: nothing is dropped, nothing blocks for ever, and a fork begins anew."""

from __future__ import annotations

import logging
import subprocess
import sys
import textwrap
import threading
from typing import TYPE_CHECKING, Any

import pytest
from turnledger.instrument import health, worker
from turnledger.instrument.worker import Worker

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from pathlib import Path

NEVER_S = 3600.0


class _Books:
    """Handles items as a worker is told to, and remembers what was done and by which thread."""

    def __init__(self) -> None:
        self.handled: list[tuple[Any, str]] = []
        self.batches: list[list[Any]] = []
        self.exported = threading.Event()
        self.busy = threading.Event()
        self.go_on = threading.Event()
        self.go_on.set()
        self.worker = Worker(self.handle, self.export, NEVER_S)

    def handle(self, item: Any) -> None:
        if threading.current_thread().name == "turnledger":
            self.busy.set()
            assert self.go_on.wait(10)
        self.handled.append((item, threading.current_thread().name))
        if item == "bad":
            raise ValueError("a bad item")
        self.worker.collect(item)

    def export(self, batch: Sequence[Any]) -> None:
        self.batches.append(list(batch))
        self.exported.set()

    def hold(self, item: Any) -> None:
        """Let the worker begin with an item, and stay there."""
        self.go_on.clear()
        self.worker.submit(item)
        assert self.busy.wait(10)


@pytest.fixture
def books() -> Iterator[_Books]:
    health.reset()
    found = _Books()
    yield found
    found.go_on.set()
    found.worker.stop(10)
    health.reset()


def test_items_are_handled_in_the_background_and_in_order(books: _Books):
    for number in range(5):
        books.worker.submit(number)
    assert books.worker.flush(10)
    assert books.handled == [(number, "turnledger") for number in range(5)]
    assert books.batches == [[0, 1, 2, 3, 4]]
    assert books.worker.flush(10)
    assert len(books.batches) == 1  # there was nothing more to export


def test_a_full_queue_makes_the_caller_do_the_work(books: _Books, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(worker, "MAX_QUEUED", 2)
    books.hold("first")
    for item in ("queued", "queued too", "inline", "inline too"):
        books.worker.submit(item)
    me = threading.current_thread().name
    assert books.handled == [("inline", me), ("inline too", me)]
    books.go_on.set()
    assert books.worker.flush(10)
    assert sorted(item for batch in books.batches for item in batch) == sorted(item for item, _ in books.handled)
    assert len(books.handled) == 5
    assert health.snapshot() == {"worker.inline": 2}


def test_a_flush_that_takes_too_long_says_so(books: _Books):
    books.hold("first")
    assert not books.worker.flush(0.01)
    books.go_on.set()
    assert books.worker.flush(10)
    assert books.batches == [["first"]]


def test_a_full_batch_does_not_wait(books: _Books, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(worker, "BATCH_SIZE", 3)
    for number in range(3):
        books.worker.submit(number)
    assert books.exported.wait(10)
    assert books.batches == [[0, 1, 2]]


def test_a_small_batch_waits_for_its_interval_only(books: _Books):
    books.worker = Worker(books.handle, books.export, 0.01)
    books.worker.submit("alone")
    assert books.exported.wait(10)
    assert books.batches == [["alone"]]
    books.worker.stop(10)


def test_an_idle_worker_lets_an_item_lie_until_a_flush(books: _Books, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(worker, "PAUSE_S", NEVER_S)
    for _ in range(2):
        books.worker.submit("one")
        books.worker.submit("two")
        assert books.handled == []
        assert books.worker.flush(10)
        assert [item for item, _ in books.handled] == ["one", "two"]
        books.handled.clear()


def test_a_bad_item_is_counted_and_logged_once(books: _Books, caplog: pytest.LogCaptureFixture):
    for item in ("bad", "good", "bad"):
        books.worker.submit(item)
    assert books.worker.flush(10)
    assert books.batches == [["good"]]
    assert health.snapshot() == {"worker.handle": 2}
    assert [record.levelno for record in caplog.records] == [logging.WARNING]
    assert "worker.handle failed (ValueError)" in caplog.text


def test_a_failing_export_is_counted(books: _Books, caplog: pytest.LogCaptureFixture):
    def refuse(_: Sequence[Any]) -> None:
        raise RuntimeError("no")

    books.worker = Worker(books.handle, refuse, NEVER_S)
    for _ in range(2):
        books.worker.submit("one")
        books.worker.submit("two")
        assert books.worker.flush(10)
    assert health.snapshot() == {"worker.export": 2, "worker.lost_spans": 4}
    assert len(caplog.records) == 1
    books.worker.stop(10)


def test_what_comes_after_stop_is_still_kept(books: _Books):
    books.worker.submit("before")
    books.worker.stop(10)
    books.worker.submit("after")
    assert books.batches == [["before"], ["after"]]
    assert books.handled[-1] == ("after", threading.current_thread().name)
    assert books.worker.flush(0)


def test_a_worker_that_was_never_used_stops(books: _Books):
    books.worker.stop(0)
    assert books.batches == []


def test_without_a_thread_the_caller_does_the_work(books: _Books, monkeypatch: pytest.MonkeyPatch):
    def refuse(_: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    with monkeypatch.context() as patch:
        patch.setattr(threading.Thread, "start", refuse)
        books.worker.submit("one")
    assert books.batches == [["one"]]
    assert health.snapshot() == {"worker.start": 1, "worker.inline": 1}
    books.worker.submit("two")  # and tries again
    assert books.worker.flush(10)
    assert books.handled[-1] == ("two", "turnledger")


def test_many_threads_submit(books: _Books):
    barrier = threading.Barrier(8)

    def submit(start: int) -> None:
        barrier.wait(10)
        for number in range(100):
            books.worker.submit(start * 100 + number)

    threads = [threading.Thread(target=submit, args=(start,)) for start in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(10)
    assert books.worker.flush(10)
    assert sorted(item for item, _ in books.handled) == list(range(800))
    assert {name for _, name in books.handled} == {"turnledger"}


def test_it_knows_what_it_is_handling(books: _Books):
    seen: list[bool] = []
    observer: Worker = Worker(lambda _: seen.append(observer.is_handling()), books.export, NEVER_S)
    observer.submit("item")
    assert observer.flush(10)
    assert (seen, observer.is_handling()) == ([True], False)
    observer.stop(10)


FORK = """
    import os, sys, threading
    import httpx2, turnledger
    from turnledger.instrument import health
    from turnledger.instrument.runtime import active_runtime

    def call(name):
        answer = httpx2.MockTransport(lambda _: httpx2.Response(200, json={"id": name}))
        with httpx2.Client(transport=answer) as client:
            client.post("https://api.openai.com/v1/chat/completions", json={"model": "m", "messages": []})

    runtime = turnledger.instrument(store=sys.argv[1])
    call("parent-before")
    locks = [runtime.worker._lock, runtime.worker._export_lock, runtime.exporter._lock, health._lock]
    for lock in locks:
        lock.acquire()  # as a thread of the parent may hold them at this moment
    child = os.fork()
    if child:
        for lock in locks:
            lock.release()
    call("child" if child == 0 else "parent-after")
    done = turnledger.flush(10)
    if child == 0:
        os._exit(0 if done else 1)
    assert done and os.waitpid(child, 0)[1] == 0
    turnledger.uninstrument()
"""


def run(code: str, *arguments: Path) -> None:
    script = textwrap.dedent(code)
    done = subprocess.run(
        [sys.executable, "-c", script, *map(str, arguments)], capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 0, done.stderr


@pytest.mark.skipif(not hasattr(__import__("os"), "fork"), reason="this system cannot fork")
def test_a_forked_child_begins_anew(tmp_path: Path, stored: Callable[[Path], list[dict[str, Any]]]):
    run(FORK, tmp_path)
    rows = stored(tmp_path)
    assert sorted(row["response_id"] for row in rows) == ["child", "parent-after", "parent-before"]
    assert len({row["span_id"] for row in rows}) == len({row["trace_id"] for row in rows}) == len(rows)


def test_a_process_that_ends_writes_what_it_has(tmp_path: Path, stored: Callable[[Path], list[dict[str, Any]]]):
    code = """
    import sys
    import httpx2, turnledger
    turnledger.instrument(store=sys.argv[1])
    answer = httpx2.MockTransport(lambda _: httpx2.Response(200, json={"id": "last"}))
    with httpx2.Client(transport=answer) as client:
        client.post("https://api.openai.com/v1/chat/completions", json={"model": "m", "messages": []})
    """
    run(code, tmp_path)
    assert [row["response_id"] for row in stored(tmp_path)] == ["last"]


class Heavy:
    """An item that keeps bytes alive."""

    def __init__(self, weight: int) -> None:
        self.weight, self.is_whole = weight, True

    def leave_out_bodies(self) -> None:
        """Let go of the bytes."""
        self.is_whole = False


def test_bytes_are_bounded_too(books: _Books, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(worker, "MAX_QUEUED_BYTES", 1000)
    monkeypatch.setattr(worker, "MAX_INLINE_BYTES", 100)
    monkeypatch.setattr(worker, "BLOCK_S", 0.0)
    books.hold("first")
    queued, small, large = Heavy(950), Heavy(90), Heavy(200)
    for item in (queued, small, large):
        books.worker.submit(item)
    me = threading.current_thread().name
    assert books.handled == [(small, me), (large, me)]
    assert (queued.is_whole, small.is_whole, large.is_whole) == (True, True, False)
    assert health.snapshot() == {"worker.inline": 2, "worker.bodies_left_out": 1}
    books.go_on.set()
    assert books.worker.flush(10)
    assert len(books.handled) == 4
    books.worker.submit(again := Heavy(950))  # what is handled takes no room any more
    assert books.worker.flush(10)
    assert books.handled[-1] == (again, "turnledger")


def test_an_item_over_the_bound_is_taken_where_nothing_else_waits(books: _Books, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(worker, "MAX_QUEUED_BYTES", 1000)
    books.worker.submit(item := Heavy(5000))
    assert books.worker.flush(10)
    assert item.is_whole
    assert books.handled == [(item, "turnledger")]


def test_a_large_item_waits_for_room(books: _Books, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(worker, "MAX_QUEUED_BYTES", 1000)
    monkeypatch.setattr(worker, "MAX_INLINE_BYTES", 100)
    monkeypatch.setattr(worker, "BLOCK_S", NEVER_S)
    books.hold("first")
    books.worker.submit(Heavy(950))
    waiting = threading.Thread(target=books.worker.submit, args=(large := Heavy(500),))
    waiting.start()
    books.go_on.set()
    waiting.join(10)
    assert books.worker.flush(10)
    assert large.is_whole
    assert books.handled[-1] == (large, "turnledger")


def test_spans_that_no_exporter_takes_are_bounded_and_counted(books: _Books, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(worker, "MAX_COLLECTED", 3)
    for number in range(5):
        books.worker.collect(number)
    books.worker.stop(10)
    assert books.batches == [[2, 3, 4]]
    assert health.snapshot() == {"worker.lost_spans": 2}


def test_without_an_interval_an_item_is_exported_when_submit_returns(books: _Books):
    books.worker = Worker(books.handle, books.export, 0)
    for number in range(3):
        books.worker.submit(number)
        assert books.batches[-1] == [number]
    assert {name for _, name in books.handled} == {"turnledger"}
    books.worker.stop(10)


def test_without_an_interval_submit_waits_no_longer_than_its_bound(books: _Books, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(worker, "BLOCK_S", 0.01)
    books.worker = Worker(books.handle, books.export, 0)
    books.hold("first")  # returns, although it cannot be handled
    assert books.batches == []
    books.go_on.set()
    assert books.worker.flush(10)
    assert books.batches == [["first"]]
    books.worker.stop(10)


def test_at_the_end_submit_waits_longer(books: _Books, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(worker, "BLOCK_S", 0.0)
    books.worker.write_at_once(10)
    for number in range(3):
        books.worker.submit(number)
        assert books.batches[-1] == [number]  # no time at all would not have been enough
    books.worker.stop(10)
