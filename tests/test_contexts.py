"""Where a conversation holds: threads, tasks, executors, generators that others consume; and nowhere else."""

from __future__ import annotations

import asyncio
import random
import threading
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import openai
import orjson
import pytest
import turnledger
from hypothesis import given, settings
from hypothesis import strategies as st
from sdk_bodies import CHAT
from stub_server import Reply, StubServer, json_reply, wait_until
from turnledger.instrument import context, health

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, AsyncIterator, Generator

    from conftest import Recorder

MANY = 200
HELD_S = 30.0
MESSAGES = [{"role": "user", "content": "Say hello."}]


def here() -> str | None:
    """Return the conversation set here."""
    said = context.current()
    return said.id if said else None


def expected_and_said(rows: list[dict[str, Any]]) -> list[tuple[Any, Any]]:
    """Return whose call each row is, as the request itself says, and what it was recorded as."""
    return sorted((row["user_id"], row["conversation_id"]) for row in rows)


@pytest.fixture
def sync_client(stub: StubServer) -> Any:
    stub.script(json_reply(CHAT))
    with openai.OpenAI(api_key="test-key", base_url=f"{stub.url}/v1", max_retries=0) as client:
        yield client


def ask(client: openai.OpenAI, who: str) -> None:
    """Make a call whose request says whose it is."""
    client.chat.completions.create(model="gpt-5-mini", messages=MESSAGES, user=who)


# --- tasks


class _Holding:
    """Answers at once, but lets requests wait in whose body ``held`` stands."""

    def __init__(self, stub: StubServer) -> None:
        self._next = stub.next_reply
        stub.script(json_reply(CHAT))
        stub.next_reply = self  # type: ignore[method-assign]
        self.held = 0

    def __call__(self, request: Any) -> Reply:
        reply = self._next(request)
        if not orjson.loads(request.body)["user"].endswith("held"):
            return reply
        self.held += 1
        return Reply(reply.body, reply.status, reply.headers, delay_s=HELD_S)


def test_tasks_that_nest_and_are_cancelled_stay_apart(stub: StubServer, recorder: Recorder):
    holding = _Holding(stub)

    async def call(client: openai.AsyncOpenAI, who: str) -> None:
        await client.chat.completions.create(model="gpt-5-mini", messages=MESSAGES, user=who)

    async def task(client: openai.AsyncOpenAI, number: int) -> None:
        name = f"c{number}"
        with turnledger.conversation(name):
            await call(client, name)
            with turnledger.conversation(f"{name}/inner"):
                children = asyncio.gather(*(call(client, f"{name}/inner") for _ in range(2)))
                if number % 4 == 0:
                    await call(client, f"{name}/inner")
                await children
            assert here() == name
            if number % 20 == 0:
                try:
                    with turnledger.conversation(f"{name}/held"):
                        await call(client, f"{name}/held")
                finally:
                    assert here() == name
        assert here() is None

    async def run() -> list[Any]:
        async with openai.AsyncOpenAI(
            api_key="test-key", base_url=f"{stub.url}/v1", max_retries=0, timeout=HELD_S
        ) as client:
            tasks = [asyncio.create_task(task(client, number)) for number in range(MANY)]
            await asyncio.wait([item for number, item in enumerate(tasks) if number % 20])
            await asyncio.to_thread(wait_until, lambda: holding.held == MANY // 20, HELD_S)
            for item in tasks:
                item.cancel()
            return await asyncio.gather(*tasks, return_exceptions=True)

    results = asyncio.run(run())
    assert [type(result) for result in results].count(asyncio.CancelledError) == MANY // 20
    assert [result for result in results if isinstance(result, Exception)] == []
    rows = recorder.rows()
    assert len(rows) == MANY * 3 + MANY // 4 + MANY // 20
    assert [row for row in rows if row["user_id"] != row["conversation_id"]] == []
    cancelled = [row for row in rows if row["error_type"]]
    assert sorted(row["conversation_id"] for row in cancelled) == sorted(f"c{n}/held" for n in range(0, MANY, 20))
    assert health.snapshot() == {}


PATHS = st.lists(st.lists(st.sampled_from("abc"), min_size=1, max_size=4), min_size=1, max_size=8)


@settings(max_examples=50)
@given(paths=PATHS, seed=st.integers(0, 1 << 16))
def test_any_nesting_in_any_order_of_tasks_stays_apart(paths: list[list[str]], seed: int):
    """Every task walks into nested conversations and out again, and the loop goes on with them in any order."""
    order = random.Random(seed)

    async def walk(number: int, names: list[str]) -> None:
        if not names:
            return
        outer, name = here(), f"{number}{names[0]}"
        with turnledger.conversation(name):
            for _ in range(order.randrange(3)):
                await asyncio.sleep(0)
                assert here() == name
            await walk(number, names[1:])
            if order.random() < 0.5:
                await asyncio.create_task(walk(number, names[1:]))
            assert here() == name
        assert here() == outer

    async def run() -> None:
        await asyncio.gather(*(walk(number, names) for number, names in enumerate(paths)))

    asyncio.run(run())
    assert here() is None


# --- threads


def test_an_executor_takes_what_is_bound_and_nothing_else(sync_client: Any, recorder: Recorder):
    with ThreadPoolExecutor(8) as pool:
        done = []
        for number in range(MANY):
            with turnledger.conversation(f"c{number}"):
                bound = turnledger.propagate(ask)
                done.append(pool.submit(bound, sync_client, f"c{number}"))
                if number % 10 == 0:  # on the same threads, between those that are bound
                    done.append(pool.submit(ask, sync_client, "nobody"))
        for item in done:
            item.result()
    said = expected_and_said(recorder.rows())
    assert said == sorted([(f"c{n}", f"c{n}") for n in range(MANY)] + [("nobody", None)] * (MANY // 10), key=str)


def test_to_thread_takes_the_conversation_and_run_in_executor_needs_propagate(sync_client: Any, recorder: Recorder):
    async def task(number: int) -> None:
        loop = asyncio.get_running_loop()
        with turnledger.conversation(f"c{number}"):
            await asyncio.to_thread(ask, sync_client, f"c{number}")
            await loop.run_in_executor(None, turnledger.propagate(ask), sync_client, f"c{number}")
            await loop.run_in_executor(None, ask, sync_client, "nobody")

    async def run() -> None:
        await asyncio.gather(*(task(number) for number in range(20)))

    asyncio.run(run())
    rows = expected_and_said(recorder.rows())
    assert {pair for pair in rows if pair[0] == "nobody"} == {("nobody", None)}
    assert [pair for pair in rows if pair[0] != "nobody"] == sorted([(f"c{n}", f"c{n}") for n in range(20)] * 2)


# --- generators


def run_in_thread(function: Any) -> Any:
    """Run a function in a thread of its own; return what it returned."""
    found: list[Any] = []
    thread = threading.Thread(target=lambda: found.append(function()))
    thread.start()
    thread.join()
    return found[0]


def test_a_generator_keeps_its_conversation_in_whatever_thread_it_is_consumed(sync_client: Any, recorder: Recorder):
    @turnledger.observe(conversation="who")
    def talk(who: str) -> Generator[str | None]:
        for _ in range(4):
            ask(sync_client, who)
            yield here()

    with turnledger.conversation("beginner"):
        talks = [talk(f"c{number}") for number in range(10)]
        assert [next(item) for item in talks] == [f"c{number}" for number in range(10)]
    for item in talks:
        assert run_in_thread(lambda item=item: (next(item), here())) == (f"c{talks.index(item)}", None)
    with turnledger.conversation("consumer"):
        for item in talks:
            assert run_in_thread(turnledger.propagate(lambda item=item: (next(item), here())))[1] == "consumer"
            assert len(list(item)) == 1
            assert here() == "consumer"
    rows = expected_and_said(recorder.rows())
    assert rows == sorted([(f"c{number}", f"c{number}") for number in range(10)] * 4)


def test_an_async_generator_begun_in_one_task_and_ended_in_another(stub: StubServer, recorder: Recorder):
    stub.script(json_reply(CHAT))

    async def run() -> None:
        async with openai.AsyncOpenAI(api_key="test-key", base_url=f"{stub.url}/v1", max_retries=0) as client:

            @turnledger.observe(conversation="who")
            async def talk(who: str) -> AsyncGenerator[str | None]:
                for _ in range(3):
                    await client.chat.completions.create(model="gpt-5-mini", messages=MESSAGES, user=who)
                    yield here()

            async def rest(item: AsyncGenerator[str | None]) -> tuple[Any, ...]:
                with turnledger.conversation("consumer"):
                    return await anext(item), here(), await item.aclose(), here()

            talks = [talk(f"c{number}") for number in range(20)]
            for item in talks:
                await asyncio.create_task(anext(item))  # type: ignore[arg-type]
            assert here() is None
            found = await asyncio.gather(*(asyncio.create_task(rest(item)) for item in talks))
            assert found == [(f"c{number}", "consumer", None, "consumer") for number in range(20)]

    asyncio.run(run())
    assert expected_and_said(recorder.rows()) == sorted([(f"c{number}", f"c{number}") for number in range(20)] * 2)


def test_a_block_in_a_generator_may_end_in_another_thread_or_task():
    def block() -> Generator[str | None]:
        with turnledger.conversation("c1"):
            yield here()

    async def ablock() -> AsyncIterator[str | None]:
        with turnledger.conversation("c2"):
            yield here()

    steps = block()
    assert run_in_thread(lambda: next(steps)) == "c1"
    assert list(steps) == []

    async def run() -> None:
        items = ablock()
        assert await asyncio.create_task(anext(items)) == "c2"  # type: ignore[arg-type]
        with pytest.raises(StopAsyncIteration):
            await anext(items)

    asyncio.run(run())
    assert here() is None
