"""The index of answers in memory: what it finds, what it forgets, and that it never grows."""

from __future__ import annotations

import itertools
import tracemalloc
from typing import TYPE_CHECKING

from said import completion, model, thread, user
from turnledger.instrument import health
from turnledger.instrument.digests import DigestKey, MessageSize, Thread
from turnledger.instrument.threads import MAX_BYTES, Known, ThreadIndex, Threads

if TYPE_CHECKING:
    from conftest import Recorder

CHAT = "openai/chat.completions"
FIRST = thread(CHAT, {"messages": [user("Hi")]}, completion("Hello!"))
SECOND = thread(CHAT, {"messages": [user("Hi"), model("Hello!"), user("How are you?")]}, completion("Well."))


def test_a_call_is_found_by_its_answer():
    index = ThreadIndex()
    assert index.continued(SECOND, None) is None
    index.answered(FIRST, Known("call-1", "call-1", None))
    found = index.continued(SECOND, None)
    assert found is not None
    assert (found.call_id, found.conversation, found.candidates) == ("call-1", "call-1", 1)


def test_two_users_are_two_conversations_and_an_unknown_one_is_either():
    index = ThreadIndex()
    index.answered(FIRST, Known("call-1", "call-1", "ann"))
    index.answered(FIRST, Known("call-2", "call-2", "bob"))
    ids = [found.call_id for user in ("ann", "bob", "eve", None) if (found := index.continued(SECOND, user))]
    assert ids == ["call-1", "call-2", "call-2"]


def test_of_calls_alike_one_that_nobody_went_on_with_comes_first():
    index = ThreadIndex()
    for name in ("call-1", "call-2", "call-3"):
        index.answered(FIRST, Known(name, name, None))
    found = [index.continued(SECOND, None) for _ in range(4)]
    assert [item and item.call_id for item in found] == ["call-3", "call-2", "call-1", "call-3"]
    assert found[0] is not None
    assert found[0].candidates == 3


def test_the_nearest_of_several_prefixes_counts():
    index = ThreadIndex()
    third = thread(CHAT, {"messages": [user("Hi"), model("Hello!"), user("How are you?"), model("Well."), user("x")]})
    index.answered(FIRST, Known("call-1", "call-1", None))
    assert (found := index.continued(third, None)) is not None
    assert found.call_id == "call-1"
    index.answered(SECOND, Known("call-2", "call-1", None))
    assert (found := index.continued(third, None)) is not None
    assert found.call_id == "call-2"


def numbered(number: int) -> Thread:
    digest = f"{number:024x}"
    size = MessageSize("user", 1, 5, 0)
    return Thread("k", digest, (), (digest,), None, (size,), digest[:16], asks_tools=False, marks_cache=False)


def test_the_oldest_is_forgotten_first():
    index = ThreadIndex(max_bytes=640 * 3)
    for number in range(4):
        index.answered(numbered(number), Known(f"c{number}", f"c{number}", None))
    assert len(index) == 3
    again = Thread("k", "r", (f"{0:024x}", f"{1:024x}"), (), None, (), None, asks_tools=False, marks_cache=False)
    assert (found := index.continued(again, None)) is not None
    assert found.call_id == "c1"


def test_memory_is_flat_over_200_000_calls():
    index = ThreadIndex()
    numbers = itertools.count()

    def fill(count: int) -> None:
        for number in itertools.islice(numbers, count):
            name = f"{number:016x}"
            index.answered(numbered(number), Known(name, name, f"user-{number}"))

    tracemalloc.start()
    try:
        fill(60_000)
        early, _ = tracemalloc.get_traced_memory()
        fill(140_000)
        late, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert late <= early * 1.01
    assert peak <= MAX_BYTES


def test_a_key_that_cannot_be_had_is_replaced_and_counted(capture: Recorder):
    def broken() -> DigestKey:
        raise OSError("no key here")

    threads = Threads(broken)
    assert threads.key() == threads.key()
    assert health.snapshot()["digests.key"] == 1
    assert Threads().key() != Threads().key()
