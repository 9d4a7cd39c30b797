"""aiohttp: no byte is changed or read ahead, and every HTTP attempt is a row."""

from __future__ import annotations

import asyncio
import gzip
import inspect
from typing import TYPE_CHECKING, Any

import aiohttp
import pytest
from sdk_bodies import CHAT, CHAT_STREAM
from stub_server import Reply, json_reply, sse_reply
from turnledger.instrument import health

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from conftest import Recorder
    from stub_server import StubServer

PATH = "/v1/chat/completions"
ASKED = {"model": "gpt-5-mini", "messages": [{"role": "user", "content": "Say hello."}], "stream": True}
BODY = b"".join(CHAT_STREAM)
EVENTS = {"content-type": "text/event-stream"}


async def all_of(chunks: Any) -> list[Any]:
    return [chunk async for chunk in chunks]


async def pieces(response: Any) -> bytes:
    found = b""  # where the pieces end depends on what has arrived
    while chunk := await response.content.read(9):
        found += chunk
    return found


async def at_once(response: Any) -> bytes:
    """Read what is there without waiting, again and again."""
    found = b""
    while not response.content.at_eof():
        await asyncio.sleep(0.005)
        found += response.content.read_nowait()
    return found


async def joined(chunks: Any) -> bytes:
    return b"".join(await all_of(chunks))


async def http_chunks(response: Any) -> bytes:
    return b"".join([chunk async for chunk, _ in response.content.iter_chunks()])


READS: dict[str, Callable[[Any], Awaitable[Any]]] = {
    "read": lambda response: response.read(),
    "text": lambda response: response.text(),
    "content.read": lambda response: response.content.read(),
    "content.read in pieces": pieces,
    "iter_any": lambda response: joined(response.content.iter_any()),
    "iter_chunked": lambda response: joined(response.content.iter_chunked(5)),
    "iter_chunks": http_chunks,
    "lines": lambda response: all_of(response.content),
    "readuntil": lambda response: response.content.readuntil(b"[DONE]\n\n"),
    "readexactly": lambda response: response.content.readexactly(len(BODY)),
    "read_nowait": at_once,
}


def replies() -> dict[str, Reply]:
    return {
        "chunked": sse_reply(CHAT_STREAM),
        "with its length": Reply(BODY, 200, EVENTS),
        "gzip": Reply(gzip.compress(BODY), 200, {**EVENTS, "content-encoding": "gzip"}),
    }


@pytest.mark.parametrize("reply", replies().values(), ids=replies())
@pytest.mark.parametrize("read", READS.values(), ids=READS)
def test_streams(read: Callable[[Any], Any], reply: Reply, stub: StubServer, capture: Recorder):
    async def ask() -> Any:
        async with aiohttp.ClientSession() as session, session.post(stub.url + PATH, json=ASKED) as response:
            assert isinstance(response.content, aiohttp.StreamReader)
            return await read(response), response.status, response.raw_headers, type(response).__name__

    stub.script(reply)
    _, rows = capture.same_with_and_without(lambda: asyncio.run(ask()))
    assert [(row["response_id"], row["output_tokens"], row["error_type"]) for row in rows] == [(CHAT["id"], 10, None)]
    assert (rows[0]["request_model"], rows[0]["is_stream"]) == ("gpt-5-mini", True)
    assert health.snapshot() == {}


def test_answers_whole(stub: StubServer, capture: Recorder):
    async def ask() -> Any:
        async with aiohttp.ClientSession(stub.url) as session:
            response = await session.post(PATH, json={**ASKED, "stream": False}, params={"a": "b"})
            return await response.json(), await response.json(), response.closed

    stub.script(json_reply(CHAT, x_request_id="req_1"))
    _, rows = capture.same_with_and_without(lambda: asyncio.run(ask()))
    assert [(row["response_id"], row["request_id"]) for row in rows] == [(CHAT["id"], "req_1")]


TEXT = '{"model":"gpt-5-mini","messages":[{"role":"user","content":"é"}]}'


async def lines() -> Any:
    yield TEXT.encode()


def form() -> aiohttp.FormData:
    found = aiohttp.FormData()
    found.add_field("file", b"sound", filename="a.wav")
    return found


@pytest.mark.parametrize(
    ("body", "is_read"),
    [
        (lambda: TEXT, True),
        (TEXT.encode, True),
        (lambda: bytearray(TEXT.encode()), True),
        (lines, False),
        (form, False),
        (lambda: None, False),
    ],
    ids=["text", "bytes", "bytearray", "async iterator", "form", "nothing"],
)
def test_request_bodies(body: Any, is_read: bool, stub: StubServer, recorder: Recorder):
    async def ask() -> Any:
        async with aiohttp.ClientSession() as session, session.post(stub.url + PATH, data=body()) as response:
            return await response.json()

    stub.script(json_reply(CHAT))
    assert asyncio.run(ask()) == CHAT
    if is_read or body is lines:
        assert stub.requests[0].body == TEXT.encode()
    assert recorder.row()["request_model"] == ("gpt-5-mini" if is_read else None)


def test_a_session_that_does_not_decompress(stub: StubServer, capture: Recorder):
    packed = gzip.compress(BODY)

    async def ask() -> bytes:
        async with (
            aiohttp.ClientSession(auto_decompress=False) as session,
            session.post(stub.url + PATH, json=ASKED) as response,
        ):
            return await response.read()

    stub.script(Reply(packed, 200, {**EVENTS, "content-encoding": "gzip"}))
    found, rows = capture.same_with_and_without(lambda: asyncio.run(ask()))
    assert found == packed
    assert [row["output_tokens"] for row in rows] == [10]


def test_attempts_of_an_application_and_of_a_middleware(stub: StubServer, capture: Recorder):
    async def again(request: Any, handler: Any) -> Any:
        response = await handler(request)
        if response.status == 503:
            await response.read()
            return await handler(request)
        return response

    async def ask() -> Any:
        stub.script(json_reply({"error": {}}, 503), json_reply(CHAT), json_reply({"error": {}}, 429), json_reply(CHAT))
        async with aiohttp.ClientSession() as session:
            async with session.post(stub.url + PATH, json=ASKED, middlewares=(again,)) as response:
                first = await response.json()
            async with session.post(stub.url + PATH, json=ASKED) as response:
                assert response.status == 429
            async with session.post(stub.url + PATH, json=ASKED) as response:
                return first, await response.json()

    _, rows = capture.same_with_and_without(lambda: asyncio.run(ask()))
    assert [(row["status_code"], row["attempt_index"]) for row in rows] == [(503, 0), (200, 1), (429, 0), (200, 1)]
    assert len({row["call_id"] for row in rows}) == 2


def test_a_redirect_and_what_it_leads_to_are_one_call(stub: StubServer, capture: Recorder):
    async def ask() -> Any:
        stub.script(Reply(b"", 307, {"location": f"{PATH}?again=1"}), json_reply(CHAT))
        async with aiohttp.ClientSession() as session, session.post(stub.url + PATH, json=ASKED) as response:
            return await response.json(), len(response.history)

    _, rows = capture.same_with_and_without(lambda: asyncio.run(ask()))
    assert [(row["status_code"], row["attempt_index"]) for row in rows] == [(307, 0), (200, 1)]


@pytest.mark.parametrize("way", ["close", "release", "with"])
def test_streams_closed_early(way: str, stub: StubServer, recorder: Recorder):
    async def ask() -> None:
        async with aiohttp.ClientSession() as session:
            response = await session.post(stub.url + PATH, json=ASKED)
            assert CHAT["id"].encode() in await response.content.readline()
            if way == "with":
                async with response:
                    pass
            else:
                getattr(response, way)()

    stub.script(sse_reply(CHAT_STREAM, chunk_delay_s=0.1))
    asyncio.run(ask())
    row = recorder.row()
    assert (row["error_type"], row["response_id"]) == ("stream_closed_early", CHAT["id"])


def test_a_cancelled_call(stub: StubServer, recorder: Recorder):
    async def ask() -> None:
        async with aiohttp.ClientSession() as session, session.post(stub.url + PATH, json=ASKED) as response:
            await response.content.readline()
            await asyncio.wait_for(response.content.read(), 0.1)

    stub.script(sse_reply(CHAT_STREAM, chunk_delay_s=5))
    with pytest.raises(TimeoutError):
        asyncio.run(ask())
    row = recorder.row()
    assert (row["error_type"], row["response_id"]) == ("CancelledError", CHAT["id"])


def test_a_read_that_was_cancelled_may_be_tried_again(stub: StubServer, recorder: Recorder):
    async def ask() -> bytes:
        async with aiohttp.ClientSession() as session, session.post(stub.url + PATH, json=ASKED) as response:
            found = await response.content.readany()
            with pytest.raises(TimeoutError):
                await asyncio.wait_for(response.content.readany(), 0.05)
            return found + await response.read()

    stub.script(sse_reply([CHAT_STREAM[0], b"".join(CHAT_STREAM[1:])], chunk_delay_s=0.3))
    assert asyncio.run(ask()) == BODY
    assert [(row["output_tokens"], row["error_type"]) for row in recorder.rows()] == [(10, None)]


def test_failures_of_the_connection(stub: StubServer, capture: Recorder):
    capture.hosts = {"127.0.0.1:9": "openai", stub.host: "openai"}
    stub.script(Reply(BODY[:200], 200, {**EVENTS, "Content-Length": "100000"}))

    async def ask() -> list[str]:
        found: list[str] = []
        async with aiohttp.ClientSession() as session:
            for url in (f"http://127.0.0.1:9{PATH}", stub.url + PATH):
                try:
                    async with session.post(url, json=ASKED, timeout=aiohttp.ClientTimeout(0.5)) as response:
                        await response.read()
                except (aiohttp.ClientError, TimeoutError) as error:
                    found.append(type(error).__name__)
        return found

    found, rows = capture.same_with_and_without(lambda: asyncio.run(ask()))
    assert found[0] == "ClientConnectorError"
    assert [row["error_type"] for row in rows] == found


def test_other_traffic_is_untouched(stub: StubServer, capture: Recorder):
    async def ask() -> Any:
        async with aiohttp.ClientSession() as session, session.get(f"{stub.url}/health") as response:
            assert not {"close", "release"} & set(vars(response))
            return await response.json(), type(response.content) is aiohttp.StreamReader

    stub.script(json_reply({"ok": True}))
    capture.hosts = {}
    capture.on()
    assert asyncio.run(ask()) == ({"ok": True}, True)
    assert capture.rows() == []
    assert health.snapshot() == {}


def test_uninstrument_restores_exactly(capture: Recorder):
    before = aiohttp.ClientSession.__dict__["_request"]
    signature = inspect.signature(before)
    capture.on()
    wrapped = aiohttp.ClientSession.__dict__["_request"]
    assert wrapped is not before
    assert inspect.signature(wrapped) == signature  # an SDK reads it
    assert inspect.iscoroutinefunction(wrapped)
    capture.on()
    assert aiohttp.ClientSession.__dict__["_request"] is wrapped
    capture.off()
    capture.off()
    assert aiohttp.ClientSession.__dict__["_request"] is before


@pytest.mark.parametrize("step", ["respond", "finish", "enter", "chunk", "leave"])
def test_our_failures_stay_ours(step: str, stub: StubServer, recorder: Recorder, monkeypatch: pytest.MonkeyPatch):
    def failing(*_: Any, **__: Any) -> None:
        raise RuntimeError("injected")

    async def ask() -> bytes:
        async with aiohttp.ClientSession() as session, session.post(stub.url + PATH, json=ASKED) as response:
            return await response.read()

    stub.script(sse_reply(CHAT_STREAM))
    monkeypatch.setattr(f"turnledger.instrument.capture.Capture.{step}", failing)
    assert asyncio.run(ask()) == BODY
    assert health.snapshot()[f"aiohttp.{step}"] >= 1
    assert recorder.row()["request_model"] == "gpt-5-mini"


@pytest.mark.parametrize("path", ["", "/", "/?a=b", "#/v1/x"])
def test_an_endpoint_at_the_root_of_its_host(path: str, stub: StubServer, capture: Recorder):
    async def ask() -> Any:
        async with aiohttp.ClientSession() as session, session.post(stub.url + path, json={"inputs": "Hi"}) as response:
            return await response.json()

    stub.script(json_reply({"generated_text": "Hello"}))
    capture.hosts = {stub.host: "huggingface"}
    _, rows = capture.same_with_and_without(lambda: asyncio.run(ask()))
    assert [row["provider"] for row in rows] == ["huggingface"]
