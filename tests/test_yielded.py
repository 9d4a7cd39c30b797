"""Streams that no seam sees: read from what an observed generator yields, once, and without a change to it."""

from __future__ import annotations

import asyncio
import gc
import inspect
import json
import weakref
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import httpx
import pytest
import turnledger
from openai.types.chat import ChatCompletion, ChatCompletionChunk
from sdk_bodies import CHAT, CHAT_STREAM, RESPONSE, RESPONSE_STREAM
from stub_server import sse_reply
from turnledger.instrument import health, results

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator

    from conftest import Recorder
    from stub_server import StubServer

CHUNKS = [json.loads(line[6:]) for part in CHAT_STREAM for line in part.split(b"\n") if line[:7] == b"data: {"]


def objects() -> list[Any]:
    return [ChatCompletionChunk.model_validate(chunk) for chunk in CHUNKS]


def is_the_stream(row: dict[str, Any]) -> bool:
    """Tell whether a row says what the stream said, and no more."""
    assert (row["provider"], row["surface"]) == ("openai_compatible", "chat.completions")
    assert (row["response_id"], row["response_model"]) == (CHAT["id"], CHAT["model"])
    assert (row["input_tokens"], row["output_tokens"], row["reasoning_tokens"]) == (19, 10, 4)
    assert (row["is_stream"], row["finish_reasons"], row["status_code"]) == (True, ["stop"], None)
    assert 0 <= row["first_chunk_ms"] <= row["duration_ms"]
    assert "loopback" not in row["raw_metadata"]
    return row["error_type"] is None


@pytest.mark.parametrize("make", [objects, lambda: [dict(chunk) for chunk in CHUNKS]], ids=["objects", "dicts"])
def test_yielded_events_are_a_call(make: Any, recorder: Recorder):
    events = make()

    @turnledger.observe(conversation="c1")
    def answer() -> Iterator[Any]:
        yield from events

    assert [given is event for given, event in zip(answer(), events, strict=True)] == [True] * len(events)
    row = recorder.row()
    assert is_the_stream(row)
    assert row["conversation_id"] == "c1"
    assert health.snapshot() == {}


def test_events_of_an_async_generator_are_a_call(recorder: Recorder):
    @turnledger.observe
    async def answer() -> AsyncIterator[Any]:
        for event in objects():
            await asyncio.sleep(0)
            yield event

    async def consume() -> int:
        return len([event async for event in answer()])

    assert asyncio.run(consume()) == len(CHUNKS)
    assert is_the_stream(recorder.row())


def test_a_generator_that_is_returned_is_part_of_the_function(recorder: Recorder):
    log: list[Any] = []

    def inner() -> Iterator[Any]:
        try:
            for event in objects():
                sent = yield event
                log.append(sent)
        finally:
            log.append("closed")

    @turnledger.observe
    def answer() -> Any:
        return inner()

    stream = answer()
    assert inspect.isgenerator(stream)
    next(stream)
    stream.send("said")
    list(stream)
    assert log == ["said", *[None] * (len(CHUNKS) - 1), "closed"]
    assert is_the_stream(recorder.row())


def test_a_coroutine_may_return_one_as_well(recorder: Recorder):
    async def inner() -> AsyncIterator[Any]:
        for event in objects():
            yield event

    @turnledger.observe
    async def answer() -> Any:
        await asyncio.sleep(0)
        return inner()

    async def consume() -> int:
        return len([event async for event in await answer()])

    assert asyncio.run(consume()) == len(CHUNKS)
    assert is_the_stream(recorder.row())


def test_calls_inside_of_a_returned_generator_have_its_conversation(stub: StubServer, recorder: Recorder):
    stub.script(sse_reply(CHAT_STREAM))

    def inner() -> Iterator[Any]:
        yield httpx.post(f"{stub.url}/v1/chat/completions", json={"model": "m", "messages": [], "stream": True}).text
        yield from objects()  # what the wire told is not told again

    @turnledger.observe(conversation="c1")
    def answer() -> Any:
        return inner()

    list(answer())
    row = recorder.row()
    assert (row["conversation_id"], row["status_code"], row["attributes"]) == ("c1", 200, None)


def test_what_a_generator_returns_counts_too(recorder: Recorder):
    @turnledger.observe
    def answer() -> Any:
        yield "Grüße "
        return ChatCompletion.model_validate(CHAT)

    def around() -> Any:
        return (yield from answer())

    assert list(around()) == ["Grüße "]
    assert is_the_stream(recorder.row())


def test_a_stream_that_was_left_says_so(recorder: Recorder):
    @turnledger.observe
    def answer() -> Iterator[Any]:
        yield from [{**CHUNKS[0], "usage": CHAT["usage"]}, *CHUNKS[1:]]

    stream: Any = answer()
    next(stream)
    next(stream)
    stream.close()
    row = recorder.row()
    assert (row["error_type"], row["response_id"], row["input_tokens"]) == ("stream_closed_early", CHAT["id"], 19)


def test_text_and_other_things_are_left_alone(recorder: Recorder):
    odd: list[Any] = [
        "text",
        1,
        None,
        {},
        {"usage": 3},
        [CHAT],
        (),
        (1, CHAT),
        ("x",),
        object(),
        {"usage": {}, "id": "x"},
    ]

    @turnledger.observe
    def answer() -> Iterator[Any]:
        yield from odd

    assert list(answer()) == odd
    assert recorder.rows() == []
    assert health.snapshot() == {}


def test_a_long_stream_takes_bounded_memory_and_keeps_its_totals(recorder: Recorder, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(results, "_MOST_ITEMS", 3)

    @turnledger.observe
    def answer() -> Iterator[Any]:
        for _ in range(50):
            yield ChatCompletionChunk.model_validate(CHUNKS[1])
        yield from objects()[-2:]

    list(answer())
    row = recorder.row()
    assert (row["input_tokens"], json.loads(row["raw_metadata"])["response"]["events"]) == (19, 3)


def test_events_are_let_go(recorder: Recorder):
    events = objects()
    gone = [weakref.ref(event) for event in events]
    list(turnledger.observe(lambda: (event for event in [events.pop(0) for _ in range(len(events))]))())
    assert recorder.row()
    gc.collect()
    assert [ref() for ref in gone] == [None] * len(gone)


def test_nothing_is_kept_while_capture_is_off(capture: Recorder, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("turnledger.instrument.observe._ensure_instrumented", lambda: None)
    assert len(list(turnledger.observe(lambda: iter(objects()))())) == len(CHUNKS)
    assert list(turnledger.observe(lambda: (event for event in CHUNKS))()) == CHUNKS
    assert health.snapshot() == {}


@dataclass
class Usage:
    """Usage as a dataclass has it."""

    prompt_tokens: int
    completion_tokens: int


@dataclass
class Choice:
    """One answer."""

    finish_reason: str
    index: int = 0


@dataclass
class Completion:
    """What an SDK that is made of dataclasses returns."""

    id: str
    model: str
    choices: list[Choice]
    usage: Usage
    object: str = "chat.completion"
    system_fingerprint: str = "fp_1"


def test_a_dataclass_is_a_call(recorder: Recorder):
    made = Completion("c-1", "m-1", [Choice("stop")], Usage(7, 2))
    assert turnledger.observe(lambda: made)() is made
    row = recorder.row()
    assert (row["response_id"], row["response_model"], row["input_tokens"], row["output_tokens"]) == (
        "c-1",
        "m-1",
        7,
        2,
    )
    assert (row["is_stream"], row["first_chunk_ms"]) == (None, None)


def test_events_around_a_response_are_a_call(recorder: Recorder):
    events = [json.loads(line[6:]) for part in RESPONSE_STREAM for line in part.split(b"\n") if line[:6] == b"data: "]

    @turnledger.observe
    def answer() -> Iterator[Any]:
        yield from events

    list(answer())
    row = recorder.row()
    assert (row["surface"], row["response_id"], row["error_type"]) == ("responses", RESPONSE["id"], None)
    assert (row["input_tokens"], row["output_tokens"], row["cache_read_tokens"]) == (19, 10, 8)
    assert turnledger.extract_all_identifiers(events)["response_id"] == [RESPONSE["id"]]
