"""The real SDKs against a loopback server: they return the same with capture, and the row is right."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import anthropic
import httpx2
import openai
import pytest
from google import genai
from google.genai import types
from sdk_bodies import (
    CHAT,
    CHAT_STREAM,
    GEMINI,
    GEMINI_STREAM,
    MESSAGE,
    MESSAGE_STREAM,
    RESPONSE,
    RESPONSE_STREAM,
)
from stub_server import Reply, StubServer, json_reply, sse_reply

if TYPE_CHECKING:
    from conftest import Recorder

Style = Callable[[Any], Any]

CHAT_ASKED = {"model": "gpt-5-mini", "messages": [{"role": "user", "content": "Say hello."}]}
CHAT_STREAM_ASKED = {**CHAT_ASKED, "stream": True, "stream_options": {"include_usage": True}}
RESPONSES_ASKED = {"model": "gpt-5-mini", "input": "Say hello."}
MESSAGES_ASKED = {
    "model": "claude-opus-5",
    "max_tokens": 64,
    "messages": [{"role": "user", "content": "Say hello."}],
}
GEMINI_ASKED = {"model": "gemini-2.5-flash", "contents": "Say hello."}


def dumps(items: Any) -> list[Any]:
    """Return every event of an SDK's stream as plain data."""
    return [item.model_dump(warnings=False) for item in items]


def _raw_of(response: Any) -> tuple[Any, bytes, str | None]:
    return response.parse().model_dump(), response.http_response.content, response.headers.get("x-request-id")


def _streamed_bytes(opened: Any) -> tuple[bytes, int]:
    with opened as response:
        return b"".join(response.iter_bytes()), response.status_code


def _streamed_lines(opened: Any) -> list[str]:
    with opened as response:
        return list(response.iter_lines())


def _helper(opened: Any, final: str) -> tuple[list[Any], Any]:
    with opened as stream:
        seen = dumps(stream)
        return seen, getattr(stream, final)().model_dump(warnings=False)


def _texts(opened: Any) -> list[str]:
    with opened as stream:
        return list(stream.text_stream)


async def _adumps(items: Any) -> list[Any]:
    return [item.model_dump(warnings=False) async for item in items]


async def _abytes(opened: Any) -> bytes:
    async with opened as response:
        return b"".join([chunk async for chunk in response.iter_bytes()])


async def _ahelper(opened: Any, final: str) -> tuple[list[Any], Any]:
    async with opened as stream:
        seen = await _adumps(stream)
        return seen, (await getattr(stream, final)()).model_dump(warnings=False)


async def _aplain(awaited: Any) -> Any:
    return (await awaited).model_dump()


async def _astream(awaited: Any) -> list[Any]:
    return await _adumps(await awaited)


async def _araw(awaited: Any) -> Any:
    response = await awaited
    parsed = response.parse()
    parsed = await parsed if inspect.isawaitable(parsed) else parsed
    return parsed.model_dump(), response.http_response.content


OPENAI: dict[str, tuple[Any, Style]] = {
    "chat": (CHAT, lambda c: c.chat.completions.create(**CHAT_ASKED).model_dump()),
    "chat raw": (CHAT, lambda c: _raw_of(c.chat.completions.with_raw_response.create(**CHAT_ASKED))),
    "chat body": (
        CHAT,
        lambda c: _streamed_bytes(c.chat.completions.with_streaming_response.create(**CHAT_ASKED)),
    ),
    "chat stream": (CHAT_STREAM, lambda c: dumps(c.chat.completions.create(**CHAT_STREAM_ASKED))),
    "chat stream raw": (
        CHAT_STREAM,
        lambda c: dumps(c.chat.completions.with_raw_response.create(**CHAT_STREAM_ASKED).parse()),
    ),
    "chat stream lines": (
        CHAT_STREAM,
        lambda c: _streamed_lines(c.chat.completions.with_streaming_response.create(**CHAT_STREAM_ASKED)),
    ),
    "chat helper": (
        CHAT_STREAM,
        lambda c: _helper(
            c.chat.completions.stream(**CHAT_ASKED, stream_options={"include_usage": True}),
            "get_final_completion",
        ),
    ),
    "responses": (RESPONSE, lambda c: c.responses.create(**RESPONSES_ASKED).model_dump()),
    "responses stream": (
        RESPONSE_STREAM,
        lambda c: dumps(c.responses.create(**RESPONSES_ASKED, stream=True)),
    ),
    "responses helper": (
        RESPONSE_STREAM,
        lambda c: _helper(c.responses.stream(**RESPONSES_ASKED), "get_final_response"),
    ),
}
OPENAI_ASYNC: dict[str, tuple[Any, Style]] = {
    "chat": (CHAT, lambda c: _aplain(c.chat.completions.create(**CHAT_ASKED))),
    "chat raw": (CHAT, lambda c: _araw(c.chat.completions.with_raw_response.create(**CHAT_ASKED))),
    "chat body": (CHAT, lambda c: _abytes(c.chat.completions.with_streaming_response.create(**CHAT_ASKED))),
    "chat stream": (CHAT_STREAM, lambda c: _astream(c.chat.completions.create(**CHAT_STREAM_ASKED))),
    "chat helper": (
        CHAT_STREAM,
        lambda c: _ahelper(
            c.chat.completions.stream(**CHAT_ASKED, stream_options={"include_usage": True}),
            "get_final_completion",
        ),
    ),
    "responses": (RESPONSE, lambda c: _aplain(c.responses.create(**RESPONSES_ASKED))),
    "responses stream": (
        RESPONSE_STREAM,
        lambda c: _astream(c.responses.create(**RESPONSES_ASKED, stream=True)),
    ),
    "responses helper": (
        RESPONSE_STREAM,
        lambda c: _ahelper(c.responses.stream(**RESPONSES_ASKED), "get_final_response"),
    ),
}
ANTHROPIC: dict[str, tuple[Any, Style]] = {
    "plain": (MESSAGE, lambda c: c.messages.create(**MESSAGES_ASKED).model_dump()),
    "raw": (MESSAGE, lambda c: _raw_of(c.messages.with_raw_response.create(**MESSAGES_ASKED))),
    "body": (MESSAGE, lambda c: _streamed_bytes(c.messages.with_streaming_response.create(**MESSAGES_ASKED))),
    "stream": (MESSAGE_STREAM, lambda c: dumps(c.messages.create(**MESSAGES_ASKED, stream=True))),
    "helper": (MESSAGE_STREAM, lambda c: _helper(c.messages.stream(**MESSAGES_ASKED), "get_final_message")),
    "text stream": (MESSAGE_STREAM, lambda c: _texts(c.messages.stream(**MESSAGES_ASKED))),
}
ANTHROPIC_ASYNC: dict[str, tuple[Any, Style]] = {
    "plain": (MESSAGE, lambda c: _aplain(c.messages.create(**MESSAGES_ASKED))),
    "raw": (MESSAGE, lambda c: _araw(c.messages.with_raw_response.create(**MESSAGES_ASKED))),
    "body": (MESSAGE, lambda c: _abytes(c.messages.with_streaming_response.create(**MESSAGES_ASKED))),
    "stream": (MESSAGE_STREAM, lambda c: _astream(c.messages.create(**MESSAGES_ASKED, stream=True))),
    "helper": (MESSAGE_STREAM, lambda c: _ahelper(c.messages.stream(**MESSAGES_ASKED), "get_final_message")),
}
GENAI: dict[str, tuple[Any, Style]] = {
    "plain": (GEMINI, lambda c: c.models.generate_content(**GEMINI_ASKED).model_dump()),
    "stream": (GEMINI_STREAM, lambda c: dumps(c.models.generate_content_stream(**GEMINI_ASKED))),
    "chat": (GEMINI, lambda c: c.chats.create(model="gemini-2.5-flash").send_message("Hello").model_dump()),
}
GENAI_ASYNC: dict[str, tuple[Any, Style]] = {
    "plain": (GEMINI, lambda c: _aplain(c.aio.models.generate_content(**GEMINI_ASKED))),
    "stream": (GEMINI_STREAM, lambda c: _astream(c.aio.models.generate_content_stream(**GEMINI_ASKED))),
}


def reply_of(body: Any) -> Reply:
    ids = {"x_request_id": "req_test01", "request_id": "req_test01"}
    return sse_reply(body, **ids) if isinstance(body, list) else json_reply(body, **ids)


def check_row(rows: list[dict[str, Any]], response_id: str, *, stream: bool, request_id: str | None) -> None:
    """Assert that there is one row with the figures that all bodies here share."""
    assert len(rows) == 1
    row = rows[0]
    assert (row["response_id"], row["request_id"]) == (response_id, request_id)
    assert (row["input_tokens"], row["output_tokens"], row["cache_read_tokens"]) == (19, 10, 8)
    assert row["is_stream"] is stream
    assert (row["status_code"], row["error_type"], row["attempt_index"]) == (200, None, 0)
    assert row["call_id"] == row["span_id"]
    assert (row["first_chunk_ms"] is not None) is stream
    named = dict(row["identifiers"])
    assert named["response_id"] == [response_id]
    for prose in ("hello", "there", "loopback", "test-key"):
        assert prose not in (row["raw_metadata"] + str(row["identifiers"])).lower()


def openai_client(stub: StubServer, kind: Any = openai.OpenAI, **options: Any) -> Any:
    settings = {"api_key": "test-key", "base_url": f"{stub.url}/v1", "max_retries": 0, **options}
    return kind(**settings)


def anthropic_client(stub: StubServer, kind: Any = anthropic.Anthropic, **options: Any) -> Any:
    return kind(**{"api_key": "test-key", "base_url": stub.url, "max_retries": 0, **options})


def genai_client(stub: StubServer) -> genai.Client:
    # With a transport of its own it stays on httpx2; without one its async side takes aiohttp where that is installed.
    transport = {"transport": httpx2.AsyncHTTPTransport()}
    return genai.Client(
        api_key="test-key", http_options=types.HttpOptions(base_url=stub.url, async_client_args=transport)
    )


@pytest.mark.parametrize("style", OPENAI)
def test_openai(style: str, stub: StubServer, capture: Recorder):
    body, call = OPENAI[style]
    stub.script(reply_of(body))
    with openai_client(stub) as client:
        result, rows = capture.same_with_and_without(lambda: call(client))
    assert result
    expected = "chatcmpl-7QmTest01" if style.startswith("chat") else "resp_0001test"
    check_row(rows, expected, stream=isinstance(body, list), request_id="req_test01")
    assert rows[0]["reasoning_tokens"] == 4
    assert rows[0]["request_model"] == "gpt-5-mini"
    assert rows[0]["response_model"] == "gpt-5-mini-2025-08-07"


@pytest.mark.parametrize("style", OPENAI_ASYNC)
def test_async_openai(style: str, stub: StubServer, capture: Recorder):
    body, call = OPENAI_ASYNC[style]
    stub.script(reply_of(body))

    async def run() -> Any:
        async with openai_client(stub, openai.AsyncOpenAI) as client:
            return await call(client)

    result, rows = capture.same_with_and_without(lambda: asyncio.run(run()))
    assert result
    expected = "chatcmpl-7QmTest01" if style.startswith("chat") else "resp_0001test"
    check_row(rows, expected, stream=isinstance(body, list), request_id="req_test01")


@pytest.mark.parametrize("style", ANTHROPIC)
def test_anthropic(style: str, stub: StubServer, capture: Recorder):
    body, call = ANTHROPIC[style]
    stub.script(reply_of(body))
    capture.hosts = {stub.host: "anthropic"}
    with anthropic_client(stub) as client:
        result, rows = capture.same_with_and_without(lambda: call(client))
    assert result
    check_row(rows, "msg_01TestMessage", stream=isinstance(body, list), request_id="req_test01")
    assert rows[0]["cache_write_tokens"] == 4
    assert dict(rows[0]["cache_write_by_ttl"])["5m"] == 4
    assert rows[0]["finish_reasons"] == ["end_turn"]


@pytest.mark.parametrize("style", ANTHROPIC_ASYNC)
def test_async_anthropic(style: str, stub: StubServer, capture: Recorder):
    body, call = ANTHROPIC_ASYNC[style]
    stub.script(reply_of(body))
    capture.hosts = {stub.host: "anthropic"}

    async def run() -> Any:
        async with anthropic_client(stub, anthropic.AsyncAnthropic) as client:
            return await call(client)

    result, rows = capture.same_with_and_without(lambda: asyncio.run(run()))
    assert result
    check_row(rows, "msg_01TestMessage", stream=isinstance(body, list), request_id="req_test01")


@pytest.mark.parametrize("style", GENAI)
def test_google_genai(style: str, stub: StubServer, capture: Recorder):
    body, call = GENAI[style]
    stub.script(reply_of(body))
    capture.hosts = {stub.host: "gemini"}

    def run() -> Any:
        with genai_client(stub) as client:
            return call(client)

    result, rows = capture.same_with_and_without(run)
    assert result
    check_row(rows, "GeminiTest01", stream=isinstance(body, list), request_id=None)
    assert rows[0]["request_model"] == "gemini-2.5-flash"
    assert rows[0]["reasoning_tokens"] == 4


@pytest.mark.parametrize("style", GENAI_ASYNC)
def test_async_google_genai(style: str, stub: StubServer, capture: Recorder):
    body, call = GENAI_ASYNC[style]
    stub.script(reply_of(body))
    capture.hosts = {stub.host: "gemini"}

    async def run() -> Any:
        client = genai_client(stub)
        try:
            return await call(client)
        finally:
            await client.aio.aclose()
            client.close()

    result, rows = capture.same_with_and_without(lambda: asyncio.run(run()))
    assert result
    check_row(rows, "GeminiTest01", stream=isinstance(body, list), request_id=None)
