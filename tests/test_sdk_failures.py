"""Retries, timeouts, cancellation: each HTTP attempt is a row; the application sees what it always saw."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import openai
import pytest
from sdk_bodies import CHAT, CHAT_STREAM, MESSAGE
from stub_server import Reply, StubServer, json_reply, sse_reply, wait_until
from test_sdks import CHAT_ASKED, CHAT_STREAM_ASKED, MESSAGES_ASKED, anthropic_client, openai_client

if TYPE_CHECKING:
    from conftest import Recorder

_LIMIT = json_reply(
    {"error": {"message": "Slow down please.", "type": "rate_limit_error", "code": "rate_limit_exceeded"}},
    429,
    retry_after_ms="1",
)
_SLOW = 20.0


@pytest.fixture(autouse=True)
def short_backoff(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("openai", "anthropic"):
        monkeypatch.setattr(f"{name}._base_client.INITIAL_RETRY_DELAY", 0.001)


def test_retries_share_one_call(stub: StubServer, recorder: Recorder):
    stub.script(_LIMIT, json_reply({"error": {"message": "Oops it broke."}}, 503), json_reply(CHAT))
    with openai_client(stub, max_retries=2) as client:
        assert client.chat.completions.create(**CHAT_ASKED).model_dump()["id"] == CHAT["id"]
        rows = recorder.rows()
        assert [row["attempt_index"] for row in rows] == [0, 1, 2]
        assert {row["call_id"] for row in rows} == {rows[0]["span_id"]}
        assert [row["status_code"] for row in rows] == [429, 503, 200]
        assert [row["error_type"] for row in rows] == ["rate_limit_error", "503", None]
        assert [row["input_tokens"] for row in rows] == [None, None, 19]
        client.chat.completions.create(**CHAT_ASKED)
    assert recorder.row()["attempt_index"] == 0  # the same request after a success is a new call


def test_async_retries_share_one_call(stub: StubServer, recorder: Recorder):
    async def run() -> None:
        async with openai_client(stub, openai.AsyncOpenAI, max_retries=1) as client:
            await client.chat.completions.create(**CHAT_ASKED)

    stub.script(_LIMIT, json_reply(CHAT))
    asyncio.run(run())
    rows = recorder.rows()
    assert [(row["attempt_index"], row["call_id"]) for row in rows] == [
        (0, rows[0]["span_id"]),
        (1, rows[0]["span_id"]),
    ]


def test_retries_of_parallel_tasks_stay_apart(stub: StubServer, recorder: Recorder):
    async def run() -> None:
        async with openai_client(stub, openai.AsyncOpenAI, max_retries=3) as client:
            await asyncio.gather(*(client.chat.completions.create(**CHAT_ASKED) for _ in range(3)))

    # Which task meets which of the three refusals is up to their timing.
    stub.script(_LIMIT, _LIMIT, _LIMIT, json_reply(CHAT))
    asyncio.run(run())
    rows = recorder.rows()
    calls = {row["call_id"] for row in rows}
    assert (len(rows), len(calls)) == (6, 3)
    for call in calls:
        attempts = [row["attempt_index"] for row in rows if row["call_id"] == call]
        assert attempts == list(range(len(attempts)))


def test_other_sdk_retries(stub: StubServer, capture: Recorder):
    capture.hosts = {stub.host: "anthropic"}
    capture.on()
    overloaded = {
        "type": "error",
        "error": {"type": "overloaded_error", "message": "Overloaded"},
        "request_id": "req_011b",
    }
    stub.script(json_reply(overloaded, 529), json_reply(MESSAGE))
    with anthropic_client(stub, max_retries=1) as client:
        client.messages.create(**MESSAGES_ASKED)
    rows = capture.rows()
    assert [(row["attempt_index"], row["error_type"]) for row in rows] == [(0, "overloaded_error"), (1, None)]
    assert rows[1]["call_id"] == rows[0]["span_id"]
    assert rows[0]["request_id"] == "req_011b"


def test_failure_is_raised_as_ever(stub: StubServer, capture: Recorder):
    stub.script(_LIMIT)

    def run() -> tuple[Any, ...]:
        with openai_client(stub) as client, pytest.raises(openai.RateLimitError) as caught:
            client.chat.completions.create(**CHAT_ASKED)
        return str(caught.value), caught.value.body, caught.value.response.content

    _, rows = capture.same_with_and_without(run)
    assert [row["error_type"] for row in rows] == ["rate_limit_error"]
    assert rows[0]["span_status"] == "ERROR"
    assert "Slow" not in rows[0]["raw_metadata"]


def test_redirect_is_one_attempt(stub: StubServer, capture: Recorder):
    def run() -> Any:
        stub.script(Reply(status=307, headers={"location": "/elsewhere/chat/completions"}), json_reply(CHAT))
        with openai_client(stub) as client:
            result = client.chat.completions.create(**CHAT_ASKED).model_dump()
        return result, [request.path for request in stub.requests]

    (_, paths), rows = capture.same_with_and_without(run)
    assert paths == ["/v1/chat/completions", "/elsewhere/chat/completions"]
    assert [(row["status_code"], row["response_id"]) for row in rows] == [(200, CHAT["id"])]


def test_timeout(stub: StubServer, recorder: Recorder):
    stub.script(Reply(b"{}", delay_s=_SLOW))
    with openai_client(stub, timeout=0.2) as client, pytest.raises(openai.APITimeoutError):
        client.chat.completions.create(**CHAT_ASKED)
    row = recorder.row()
    assert (row["error_type"], row["status_code"], row["input_tokens"]) == ("ReadTimeout", None, None)
    assert row["request_model"] == "gpt-5-mini"


def test_timeout_in_the_middle_of_a_stream(stub: StubServer, recorder: Recorder):
    stub.script(sse_reply(CHAT_STREAM, chunk_delay_s=_SLOW))
    with openai_client(stub, timeout=0.3) as client:
        stream = client.chat.completions.create(**CHAT_STREAM_ASKED)
        with pytest.raises(Exception, match="timed out"):
            list(stream)
        stream.close()
    row = recorder.row()
    assert (row["error_type"], row["status_code"]) == ("ReadTimeout", 200)
    assert row["response_id"] == CHAT["id"]


def test_task_cancelled_in_the_middle_of_a_stream(stub: StubServer, recorder: Recorder):
    stub.script(sse_reply(CHAT_STREAM, chunk_delay_s=_SLOW))

    async def read(client: Any, first: asyncio.Event) -> None:
        async with await client.chat.completions.create(**CHAT_STREAM_ASKED) as stream:
            async for _ in stream:
                first.set()

    async def run() -> None:
        async with openai_client(stub, openai.AsyncOpenAI) as client:
            first = asyncio.Event()
            task = asyncio.create_task(read(client, first))
            await asyncio.wait_for(first.wait(), 5)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task

    asyncio.run(run())
    row = recorder.row()
    assert (row["error_type"], row["is_stream"]) == ("CancelledError", True)
    assert row["response_id"] == CHAT["id"]
    assert row["input_tokens"] is None  # unknown is not zero


def test_task_cancelled_before_the_answer(stub: StubServer, recorder: Recorder):
    stub.script(Reply(b"{}", delay_s=_SLOW))

    async def run() -> None:
        async with openai_client(stub, openai.AsyncOpenAI) as client:
            task = asyncio.create_task(client.chat.completions.create(**CHAT_ASKED))
            await asyncio.to_thread(wait_until, lambda: stub.requests)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task

    asyncio.run(run())
    assert recorder.row()["error_type"] == "CancelledError"


def test_stream_closed_by_the_application(stub: StubServer, recorder: Recorder):
    stub.script(sse_reply(CHAT_STREAM, chunk_delay_s=0.05))
    with openai_client(stub) as client:
        stream = client.chat.completions.create(**CHAT_STREAM_ASKED)
        assert next(stream).id == CHAT["id"]
        stream.close()
    row = recorder.row()
    assert (row["error_type"], row["response_id"]) == ("stream_closed_early", CHAT["id"])


def test_broken_connection(stub: StubServer, recorder: Recorder):
    url, host = stub.url, stub.host
    stub.close()
    with openai_client(stub, base_url=f"{url}/v1") as client, pytest.raises(openai.APIConnectionError):
        client.chat.completions.create(**CHAT_ASKED)
    assert recorder.row()["error_type"] == "ConnectError", host
