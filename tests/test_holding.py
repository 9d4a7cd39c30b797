"""What is held for a store that cannot be written: in order, within a bound, spilled before it is dropped, counted."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

import pytest
from turnledger.exporters.holding import Holding, Records
from turnledger.instrument import health

if TYPE_CHECKING:
    from collections.abc import Iterator

LONG_S = 30.0


class Place:
    """Somewhere to write to: it can be made to fail, or to hang until it is let go."""

    def __init__(self) -> None:
        self.written: list[bytes] = []
        self.fails = False
        self.tries = 0
        self.tried = threading.Condition()
        self.hangs = threading.Event()
        self.go_on = threading.Event()
        self.go_on.set()

    def write(self, records: Records) -> None:
        """Write, fail or hang."""
        with self.tried:
            self.tries += 1
            self.tried.notify_all()
        if not self.go_on.is_set():
            self.hangs.set()
            assert self.go_on.wait(LONG_S)
        if self.fails:
            raise OSError(28, "No space left on device")
        self.written.append(records.data)

    def hang(self) -> None:
        """Have the next write hang."""
        self.go_on.clear()
        self.hangs.clear()

    def wait_for_tries(self, count: int) -> None:
        """Wait until so many writes were tried."""
        with self.tried:
            assert self.tried.wait_for(lambda: self.tries >= count, LONG_S)


class Both:
    """A holding with a store and a place to spill to."""

    def __init__(self, bound: int = 1000) -> None:
        self.store, self.other = Place(), Place()
        self.looks = 0
        self.holding = Holding(self.store.write, self.other.write, bound, self.look, 3600)

    def look(self) -> bool:
        """Count how often it is asked to look after things."""
        self.looks += 1
        return False

    def put(self, *texts: str) -> None:
        """Put a record for each text."""
        for text in texts:
            self.holding.put(Records(text.encode(), 1))


@pytest.fixture
def both() -> Iterator[Both]:
    health.reset()
    found = Both()
    yield found
    found.store.go_on.set()
    found.store.fails = False
    found.holding.end(LONG_S)
    health.reset()


def lost() -> int:
    return health.snapshot().get("store.lost_spans", 0)


def test_records_are_written_in_order_by_another_thread(both: Both):
    both.put(*"abcde")
    assert both.holding.wait(LONG_S)
    assert b"".join(both.store.written) == b"abcde"
    assert both.looks >= 1


def test_what_comes_while_a_write_hangs_is_one_write_afterwards(both: Both):
    both.store.hang()
    both.put("a")
    assert both.store.hangs.wait(LONG_S)
    both.put(*"bcd")  # returns, although nothing can be written
    assert not both.holding.wait(0)
    both.store.go_on.set()
    assert both.holding.wait(LONG_S)
    assert both.store.written == [b"a", b"bcd"]


def test_the_oldest_over_the_bound_are_spilled(both: Both):
    both.store.hang()
    both.put("a" * 300)
    assert both.store.hangs.wait(LONG_S)
    both.put("b" * 300, "c" * 300, "d" * 300, "e" * 300)
    assert both.other.written == [b"b" * 300, b"c" * 300]  # a is being written; 900 bytes are within the bound
    assert health.snapshot() == {"store.spilled_spans": 2}
    both.store.go_on.set()
    assert both.holding.wait(LONG_S)
    assert b"".join(both.store.written) == b"".join(letter * 300 for letter in (b"a", b"d", b"e"))


def test_a_single_record_over_the_bound_is_kept(both: Both):
    both.put("a" * 5000)
    assert both.holding.wait(LONG_S)
    assert both.store.written == [b"a" * 5000]
    assert both.other.written == []


def test_what_cannot_be_spilled_either_is_dropped_and_counted(both: Both):
    both.store.hang()
    both.other.fails = True
    both.put("a" * 300)
    assert both.store.hangs.wait(LONG_S)
    both.put(*(letter * 300 for letter in "bcdefg"))
    assert lost() == 4
    both.store.go_on.set()
    assert both.holding.wait(LONG_S)
    assert b"".join(both.store.written) == b"a" * 300 + b"f" * 300 + b"g" * 300
    assert health.snapshot() == {"store.spill": 4, "store.lost_spans": 4}


def test_a_write_that_failed_is_tried_again_with_what_came_since(both: Both):
    both.store.fails = True
    both.put("a")
    both.store.wait_for_tries(1)
    both.put("b")
    assert not both.holding.wait(LONG_S)  # a try has failed: no waiting for the next
    both.store.fails = False
    assert both.holding.wait(LONG_S)
    assert b"".join(both.store.written) == b"ab"
    assert health.snapshot()["store.write"] >= 1


def test_the_end_spills_what_cannot_be_written(both: Both):
    both.store.fails = True
    both.put(*"abc")
    assert both.holding.end(LONG_S)
    assert b"".join(both.other.written) == b"abc"
    assert health.snapshot()["store.spilled_spans"] == 3
    assert lost() == 0


def test_the_end_does_not_wait_for_a_write_that_hangs(both: Both):
    both.store.hang()
    both.put("a")
    assert both.store.hangs.wait(LONG_S)
    both.put("b")
    assert not both.holding.end(0.01)
    assert both.other.written == [b"b"]


def test_what_comes_after_the_end_is_written_at_once(both: Both):
    both.put("a")
    assert both.holding.end(LONG_S)
    both.put("b")
    assert both.store.written == [b"a", b"b"]


def test_without_a_thread_whoever_brings_it_writes(both: Both, monkeypatch: pytest.MonkeyPatch):
    def refuse(_: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    with monkeypatch.context() as patch:
        patch.setattr(threading.Thread, "start", refuse)
        both.put("a")
    assert both.store.written == [b"a"]
    both.put("b")
    assert both.holding.wait(LONG_S)
    assert both.store.written == [b"a", b"b"]


def test_many_threads_put(both: Both):
    barrier = threading.Barrier(8)

    def put(letter: str) -> None:
        barrier.wait(LONG_S)
        for _ in range(200):
            both.put(letter)

    threads = [threading.Thread(target=put, args=(letter,)) for letter in "abcdefgh"]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(LONG_S)
    assert both.holding.wait(LONG_S)
    assert sorted(b"".join([*both.store.written, *both.other.written]).decode()) == sorted("abcdefgh" * 200)
    assert lost() == 0
