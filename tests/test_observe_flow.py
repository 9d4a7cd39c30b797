"""Where control goes back and forth: generators, async generators, tasks and threads keep their conversation apart."""

from __future__ import annotations

import asyncio
import inspect
import threading
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import pytest
import turnledger
from test_observe import acall, api, call, here

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable, Generator

    from conftest import Recorder

__all__ = ["api"]  # a fixture: pytest finds it by its name here
NOBODY = (None, None)
INSIDE = ("c1", None)


class _Log(list[Any]):
    """What a generator did and where."""

    def note(self, *what: Any) -> None:
        self.append((*what, here()))


def echo(log: _Log, chat_id: str) -> Generator[Any, Any, str]:
    """Yield back what is sent or thrown, until told to stop."""
    log.note("begin")
    received: Any = None
    try:
        while received != "stop":
            try:
                received = yield received
                log.note("sent", received)
            except ValueError as error:
                received = error
                log.note("thrown", error)
    finally:
        log.note("end")
    return "result"


async def aecho(log: _Log, chat_id: str) -> AsyncGenerator[Any, Any]:
    """Do the same, asynchronously."""
    log.note("begin")
    received: Any = None
    try:
        while received != "stop":
            try:
                await asyncio.sleep(0)
                received = yield received
                log.note("sent", received)
            except ValueError as error:
                received = error
                log.note("thrown", error)
    finally:
        await asyncio.sleep(0)
        log.note("end")


def drive(function: Callable[..., Generator[Any, Any, str]]) -> tuple[_Log, list[Any]]:
    """Use everything a generator has; return what it did and what came out."""
    log, out = _Log(), []
    error = ValueError("thrown in")
    steps = function(log, "c1")
    out.append(next(steps))
    out.append(steps.send("hello"))
    out.append(steps.throw(error) is error)
    out.append(here())
    try:
        steps.send("stop")
    except StopIteration as stop:
        out.append(stop.value)
    out.append(here())
    return log, out


async def adrive(function: Callable[..., AsyncGenerator[Any, Any]]) -> tuple[_Log, list[Any]]:
    log, out = _Log(), []
    error = ValueError("thrown in")
    steps = function(log, "c1")
    out.append(await anext(steps))
    out.append(await steps.asend("hello"))
    out.append(await steps.athrow(error) is error)
    out.append(here())
    try:
        await steps.asend("stop")
    except StopAsyncIteration:
        out.append("over")
    out.append(here())
    return log, out


def places(log: _Log) -> list[Any]:
    return [entry[-1] for entry in log]


def test_a_generator_behaves_as_ever(recorder: Recorder):
    observed = turnledger.observe(conversation="chat_id")(echo)
    log, out = drive(observed)
    expected, expected_out = drive(echo)
    assert out == expected_out == [None, "hello", True, NOBODY, "result", NOBODY]
    assert [entry[0] for entry in log] == [entry[0] for entry in expected] == ["begin", "sent", "thrown", "sent", "end"]
    assert places(log) == [INSIDE] * 5


def test_an_async_generator_behaves_as_ever(recorder: Recorder):
    observed = turnledger.observe(conversation="chat_id")(aecho)
    log, out = asyncio.run(adrive(observed))
    expected, expected_out = asyncio.run(adrive(aecho))
    assert out == expected_out == [None, "hello", True, NOBODY, "over", NOBODY]
    assert [entry[0] for entry in log] == [entry[0] for entry in expected] == ["begin", "sent", "thrown", "sent", "end"]
    assert places(log) == [INSIDE] * 5


def test_a_closed_generator_cleans_up_inside(recorder: Recorder):
    log = _Log()
    steps = turnledger.observe(conversation="chat_id")(echo)(log, "c1")
    next(steps)
    steps.close()
    assert log == [("begin", INSIDE), ("end", INSIDE)]
    assert list(steps) == []
    never_begun = turnledger.observe(echo)(log, "c2")
    never_begun.close()
    assert len(log) == 2
    assert here() == NOBODY


def test_a_closed_async_generator_cleans_up_inside(recorder: Recorder):
    log = _Log()

    async def run() -> None:
        steps = turnledger.observe(conversation="chat_id")(aecho)(log, "c1")
        await anext(steps)
        await steps.aclose()
        assert here() == NOBODY

    asyncio.run(run())
    assert log == [("begin", INSIDE), ("end", INSIDE)]


def test_an_error_of_a_generator_is_its_own(recorder: Recorder):
    error = KeyError("mine")

    @turnledger.observe
    def failing() -> Generator[int]:
        yield 1
        raise error

    @turnledger.observe
    async def afailing() -> AsyncGenerator[int]:
        yield 1
        raise error

    async def run() -> list[int]:
        return [item async for item in afailing()]

    with pytest.raises(KeyError) as caught:
        list(failing())
    assert caught.value is error
    with pytest.raises(KeyError) as caught:
        asyncio.run(run())
    assert caught.value is error


def test_an_error_thrown_in_comes_out_as_it_was(recorder: Recorder):
    @turnledger.observe
    def deaf() -> Generator[int]:
        yield 1

    error = LookupError("not handled inside")
    steps = deaf()
    next(steps)
    with pytest.raises(LookupError) as caught:
        steps.throw(error)
    assert caught.value is error


def test_generators_side_by_side_do_not_mix(recorder: Recorder):
    @turnledger.observe(conversation="chat_id")
    def numbers(chat_id: str) -> Generator[Any]:
        for _ in range(3):
            yield here()[0]

    with turnledger.conversation("outer"):
        pairs = list(zip(numbers("a"), numbers("b"), strict=True))
        assert here() == ("outer", None)
    assert pairs == [("a", "b")] * 3


def test_a_generator_that_another_delegates_to(api: Recorder):
    @turnledger.observe(conversation="inner")
    def inner() -> Generator[int, None, str]:
        yield 1
        call(api)
        return "inner's result"

    @turnledger.observe(conversation="outer")
    def outer() -> Generator[int, None, str]:
        result = yield from inner()
        call(api)
        return result

    steps = outer()
    assert next(steps) == 1
    with pytest.raises(StopIteration) as stop:
        next(steps)
    assert stop.value.value == "inner's result"
    assert [row["conversation_id"] for row in api.rows()] == ["inner", "outer"]


def test_an_async_generator_across_tasks(recorder: Recorder):
    @turnledger.observe(conversation="chat_id")
    async def numbers(chat_id: str) -> AsyncGenerator[Any]:
        for _ in range(3):
            yield here()[0]

    async def run() -> list[Any]:
        steps = numbers("c1")
        # Every step in a task, and so in a context, of its own.
        found = [await asyncio.create_task(anext(steps)) for _ in range(3)]
        await steps.aclose()
        return [*found, here()]

    assert asyncio.run(run()) == ["c1", "c1", "c1", NOBODY]


# --- tasks and threads


def test_concurrent_tasks_stay_apart(api: Recorder):
    @turnledger.observe(conversation="chat_id")
    async def answer(chat_id: str, met: asyncio.Barrier) -> Any:
        await met.wait()  # all are inside at the same time
        await acall(api)
        await met.wait()
        return here()[0]

    async def run() -> list[Any]:
        met = asyncio.Barrier(5)
        return await asyncio.gather(*(answer(f"c{n}", met) for n in range(5)))

    names = [f"c{n}" for n in range(5)]
    assert asyncio.run(run()) == names
    assert sorted(row["conversation_id"] for row in api.rows()) == names


def test_threads_need_propagate(api: Recorder):
    met = threading.Barrier(4)

    def work(_: int) -> Any:
        met.wait(10)
        call(api)
        return here()

    with turnledger.conversation("c1", user="u1"), ThreadPoolExecutor(4) as pool:
        bound = turnledger.propagate(work)
        assert list(pool.map(bound, range(4))) == [("c1", "u1")] * 4
        assert list(pool.map(work, range(4))) == [(None, None)] * 4
    assert inspect.signature(bound) == inspect.signature(work)
    assert sorted(str(row["conversation_id"]) for row in api.rows()) == ["None"] * 4 + ["c1"] * 4
