"""Calls that no seam sees: read from the response an observed function returns, once, and from nothing else."""

from __future__ import annotations

import asyncio
import copy
import gc
import importlib
import threading
import weakref
from typing import TYPE_CHECKING, Any

import orjson
import pytest
import turnledger
from anthropic.types import Message
from google.genai.types import GenerateContentResponse
from openai.types.chat import ChatCompletion
from openai.types.responses import Response
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from pydantic import BaseModel
from sdk_bodies import CHAT, GEMINI, MESSAGE, RESPONSE
from stub_server import json_reply
from turnledger.instrument import health

if TYPE_CHECKING:
    from collections.abc import Callable

    from conftest import Recorder
    from stub_server import StubServer

SEEN = '{"turnledger.seen":"returned"}'


class _Proto:
    """What a gRPC client returns: names with underscores, and a way to a dict."""

    def __init__(self, document: dict[str, Any]) -> None:
        self._document = document

    usage_metadata = property(lambda self: self._document["usage_metadata"])

    def to_dict(self) -> dict[str, Any]:
        return copy.deepcopy(self._document)


GEMINI_PROTO = {
    "candidates": [{"content": {"role": "model", "parts": [{"text": "Hello there."}]}, "finish_reason": "STOP"}],
    "usage_metadata": {
        "prompt_token_count": 19,
        "cached_content_token_count": 8,
        "candidates_token_count": 6,
        "thoughts_token_count": 4,
    },
    "model_version": "gemini-2.5-flash",
    "response_id": "GeminiTest01",
}

# Many shapes are spoken by several: the object alone does not say who sends the bill, so it is who they have it from.
RESPONSES: dict[str, tuple[Callable[[], Any], str, str, str]] = {
    "chat dict": (lambda: copy.deepcopy(CHAT), "openai_compatible", "chat.completions", CHAT["id"]),
    "chat object": (lambda: ChatCompletion.model_validate(CHAT), "openai_compatible", "chat.completions", CHAT["id"]),
    "responses": (lambda: Response.model_validate(RESPONSE), "openai_compatible", "responses", RESPONSE["id"]),
    "messages": (lambda: Message.model_validate(MESSAGE), "anthropic", "messages", MESSAGE["id"]),
    "gemini": (lambda: GenerateContentResponse.model_validate(GEMINI), "gemini", "generate_content", "GeminiTest01"),
    "gemini dict": (lambda: copy.deepcopy(GEMINI), "gemini", "generate_content", "GeminiTest01"),
    "protobuf": (lambda: _Proto(GEMINI_PROTO), "gemini", "generate_content", "GeminiTest01"),
}


@pytest.mark.parametrize("kind", RESPONSES)
def test_a_returned_response_is_a_call(kind: str, recorder: Recorder):
    make, provider, surface, response_id = RESPONSES[kind]
    result = make()

    @turnledger.observe(conversation="chat_id", user="u1", tags={"team": "support"})
    def answer(chat_id: str) -> Any:
        return result

    assert answer("c1") is result
    row = recorder.row()
    assert (row["provider"], row["surface"], row["response_id"]) == (provider, surface, response_id)
    assert (row["input_tokens"], row["output_tokens"], row["cache_read_tokens"]) == (19, 10, 8)
    assert (row["conversation_id"], row["user_id"], row["tags"]) == ("c1", "u1", [("team", "support")])
    assert (row["call_id"], row["attempt_index"]) == (row["span_id"], 0)
    assert row["attributes"] == SEEN
    # What only the wire could tell is unknown, not guessed.
    unknown = ("status_code", "is_stream", "first_chunk_ms", "server_address", "request_model", "message_count")
    assert [row[name] for name in unknown] == [None] * len(unknown)
    raw = orjson.loads(row["raw_metadata"])
    assert list(raw) == ["response"]
    assert "ello" not in row["raw_metadata"]
    assert row["duration_ms"] >= 0
    assert health.snapshot() == {}


def test_a_returned_response_of_a_coroutine_is_a_call(recorder: Recorder):
    @turnledger.observe
    async def answer() -> Any:
        await asyncio.sleep(0)
        return dict(MESSAGE)

    assert asyncio.run(answer()) == MESSAGE
    assert recorder.row()["response_id"] == MESSAGE["id"]


def ask(stub: StubServer) -> Any:
    library = importlib.import_module("httpx2")
    with library.Client() as client:
        return client.post(f"{stub.url}/v1/chat/completions", json={"model": "m", "messages": []}).json()


def test_a_call_seen_on_the_wire_is_not_read_again(stub: StubServer, recorder: Recorder):
    stub.script(json_reply(CHAT))

    @turnledger.observe
    def inner() -> Any:
        return ask(stub)

    @turnledger.observe
    def outer() -> Any:
        # Another id: only that the wire was seen tells that this is no further call.
        return {**inner(), "id": "chatcmpl-renamed"}

    outer()
    row = recorder.row()
    assert (row["response_id"], row["attributes"]) == (CHAT["id"], None)


def test_a_call_seen_on_the_wire_of_an_unbound_thread_is_not_read_again(stub: StubServer, recorder: Recorder):
    stub.script(json_reply(CHAT))

    @turnledger.observe
    def answer() -> Any:
        found: list[Any] = []
        thread = threading.Thread(target=lambda: found.append(ask(stub)))
        thread.start()
        thread.join()
        return found[0]

    answer()
    row = recorder.row()
    assert (row["response_id"], row["attributes"]) == (CHAT["id"], None)


def test_a_response_is_counted_once(recorder: Recorder):
    kept = ChatCompletion.model_validate(CHAT)

    @turnledger.observe
    def cached() -> Any:
        return kept

    @turnledger.observe
    def outer() -> Any:
        return cached()

    for _ in range(3):
        outer()
    assert len(recorder.rows()) == 1


class _Frame:
    """Like a data frame: a ``to_dict`` nobody should call."""

    def to_dict(self) -> dict[str, Any]:
        raise AssertionError("read")


class _Answer(BaseModel):
    id: str
    model: str
    usage: dict[str, int]
    status: str


@pytest.mark.parametrize(
    "result",
    [
        None,
        "text",
        7,
        [CHAT],
        (CHAT, 1),
        {},
        {"id": "x"},
        {1: 2, None: 3},
        _Frame(),
        {"usage": {"input_tokens": 3}},
        {"id": "order-1", "model": "T", "status": "sent", "created_at": 5, "usage": {"input_tokens": 3}},
        _Answer(id="a-1", model="m", usage={"input_tokens": 3, "output_tokens": 1}, status="ok"),
        {**CHAT, "id": None},
        {**CHAT, "usage": None},
        {**CHAT, "choices": "none"},
        Message,
    ],
    ids=lambda result: type(result).__name__,
)
def test_other_results_are_left_alone(result: Any, recorder: Recorder):
    assert turnledger.observe(lambda: result)() is result
    assert recorder.rows() == []
    assert health.snapshot() == {}


class _Broken:
    usage = None

    def to_dict(self) -> dict[str, Any]:
        raise RuntimeError("cannot be read")


def test_a_result_that_cannot_be_read_is_counted(recorder: Recorder):
    result = _Broken()
    assert turnledger.observe(lambda: result)() is result
    assert recorder.rows() == []
    assert health.snapshot() == {"returned.read": 1}


def test_a_returned_response_is_let_go(recorder: Recorder):
    result = ChatCompletion.model_validate(CHAT)
    gone = weakref.ref(result)
    turnledger.observe(lambda value: value)(result)
    assert recorder.row()
    del result
    gc.collect()
    assert gone() is None


def test_changes_after_the_return_do_not_count(capture: Recorder, monkeypatch: pytest.MonkeyPatch):
    runtime = capture.on()
    queued: list[Any] = []
    submit = runtime.worker.submit
    monkeypatch.setattr(runtime.worker, "submit", queued.append)
    result = turnledger.observe(lambda: dict(CHAT))()
    result.clear()
    submit(*queued)
    assert capture.row()["response_id"] == CHAT["id"]


def test_an_application_pipeline_gets_it_too(capture: Recorder):
    provider = TracerProvider()
    capture.on(tracer_provider=provider)
    provider.add_span_processor(SimpleSpanProcessor(capture.exporter))
    with provider.get_tracer("app").start_as_current_span("turn") as around:
        turnledger.observe(lambda: dict(MESSAGE))()
        turnledger.flush(10)
    row = next(row for row in capture.rows() if row["call_id"])
    assert (row["response_id"], row["call_id"]) == (MESSAGE["id"], row["span_id"])
    assert row["parent_span_id"] == f"{around.get_span_context().span_id:016x}"
    provider.shutdown()


def test_nothing_is_read_while_capture_is_off(capture: Recorder, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("turnledger.instrument.observe._ensure_instrumented", lambda: None)
    assert turnledger.observe(lambda: CHAT)() is CHAT
    assert health.snapshot() == {}
