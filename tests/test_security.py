"""Credentials go before anything waits in a queue; content goes where the application says, or nowhere."""

from __future__ import annotations

import asyncio
import codecs
import gc
import os
import types
from typing import TYPE_CHECKING, Any

import anthropic
import httpx2
import openai
import orjson
import pytest
import requests
import turnledger
from hypothesis import given
from hypothesis import strategies as st
from said import completion
from stub_server import json_reply, sse_reply
from turnledger.instrument import capture as captures
from turnledger.instrument import health
from turnledger.instrument.documents import load_documents
from turnledger.instrument.exchange import Exchange, is_secret_name
from turnledger.instrument.headers import HeaderList, of_response
from turnledger.instrument.worker import Worker

if TYPE_CHECKING:
    from collections.abc import Iterator

    from conftest import Recorder
    from stub_server import StubServer

SECRET = "plantedcanary0123456789"
SECRET_HEADERS = {
    "Authorization": f"Bearer {SECRET}",
    "x-api-key": SECRET,
    "api-key": SECRET,
    "x-goog-api-key": SECRET,
    "Cookie": f"session={SECRET}",
    "Proxy-Authorization": f"Basic {SECRET}",
    "X-Amz-Security-Token": SECRET,
    "X-Whatever-The-App-Adds": SECRET,
}
QUERY = f"key={SECRET}&X-Amz-Signature={SECRET}&X-Amz-Credential={SECRET}&sig={SECRET}&alt=sse"


@pytest.fixture
def queued(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[Any]]:
    """What was given to the worker, as it was then."""
    found: list[Any] = []
    submit = Worker.submit

    def watched(self: Worker, item: Any) -> None:
        found.append((item, sorted(set(strings(item)))))
        submit(self, item)

    monkeypatch.setattr(Worker, "submit", watched)
    yield found
    found.clear()


def strings(root: object) -> Iterator[str]:
    """Yield every text and all bytes that an object keeps alive, but for code and what is there without it."""
    seen: set[int] = set()
    left = [root]
    while left:
        item = left.pop()
        if id(item) in seen or isinstance(item, type | types.ModuleType | types.FunctionType | types.FrameType):
            continue
        seen.add(id(item))
        if isinstance(item, str):
            yield item
        elif isinstance(item, bytes | bytearray | memoryview):
            yield bytes(item).decode("latin-1")
        elif not isinstance(item, turnledger.instrument.runtime.Runtime):  # the process's, not the call's
            left += gc.get_referents(item)


def answer(name: str = "c1") -> dict[str, Any]:
    return {"id": name, "model": "gpt-4o", **completion("Hello!")}


def test_no_secret_is_reachable_from_what_is_queued(stub: StubServer, capture: Recorder, queued: list[Any]):
    stub.script(json_reply(answer(), set_cookie=f"s={SECRET}", x_api_key=SECRET, x_request_id="req_1"))
    capture.on()
    path = "/v1/chat/completions"
    url = f"http://user:{SECRET}@{stub.host}{path}?{QUERY}#{SECRET}"
    with httpx2.Client() as client:
        client.post(url, json={"model": "gpt-4o", "messages": []}, headers=SECRET_HEADERS)
    requests.post(url, json={"model": "gpt-4o", "messages": []}, headers=SECRET_HEADERS, timeout=10)
    assert len(queued) == 2
    for _, texts in queued:
        assert [text for text in texts if SECRET in text] == []
        assert any("alt=sse" in text for text in texts)
    for row in capture.rows():
        assert SECRET not in str(row)
        assert row["request_id"] == "req_1"


def test_nor_where_the_client_is_an_sdk(stub: StubServer, capture: Recorder, queued: list[Any]):
    capture.hosts = {stub.host: "openai"}
    chunk = b'data: {"id":"c1","model":"gpt-4o","choices":[{"index":0,"delta":{"content":"Hi"}}]}\n\n'
    stub.script(json_reply(answer()), sse_reply([chunk, b"data: [DONE]\n\n"]), json_reply(answer()))
    capture.on()
    messages: Any = [{"role": "user", "content": "Hi"}]
    with openai.OpenAI(base_url=f"{stub.url}/v1", api_key=SECRET, organization="org-1", max_retries=0) as client:
        client.chat.completions.create(model="gpt-4o", messages=messages)
        list(client.chat.completions.create(model="gpt-4o", messages=messages, stream=True))

    async def ask_async() -> None:
        async with openai.AsyncOpenAI(base_url=f"{stub.url}/v1", api_key=SECRET, max_retries=0) as client:
            await client.chat.completions.create(model="gpt-4o", messages=messages)

    asyncio.run(ask_async())
    assert len(queued) == 3
    for _, texts in queued:
        assert [text for text in texts if SECRET in text] == []
    first = capture.rows()[0]
    kept = orjson.loads(first["raw_metadata"])["request_headers"]
    assert kept["openai-organization"] == "org-1"
    assert "authorization" not in kept


def test_nor_of_a_call_that_fails(stub: StubServer, capture: Recorder, queued: list[Any]):
    capture.hosts = {stub.host: "anthropic"}
    error = {"type": "error", "error": {"type": "authentication_error", "message": f"invalid x-api-key {SECRET}"}}
    stub.script(json_reply(error, status=401))
    capture.on()
    with (
        anthropic.Anthropic(base_url=stub.url, api_key=SECRET, max_retries=0) as client,
        pytest.raises(anthropic.AuthenticationError),
    ):
        client.messages.create(model="claude-opus-4-8", max_tokens=5, messages=[{"role": "user", "content": "Hi"}])
    with httpx2.Client(base_url=f"http://user:{SECRET}@127.0.0.1:9") as client, pytest.raises(httpx2.ConnectError):
        client.post("/v1/messages", json={}, headers=SECRET_HEADERS)
    heads = [item for item, _ in queued]
    assert len(heads) == 2
    assert not any(SECRET in str((item.sent.url, item.sent.headers, item.response_headers)) for item in heads)
    for row in capture.rows():
        assert SECRET not in str({name: value for name, value in row.items() if name != "content"})


def test_a_failure_to_clean_leaves_nothing_to_clean(
    stub: StubServer, capture: Recorder, queued: list[Any], monkeypatch: pytest.MonkeyPatch
):
    def broken(_: object) -> Any:
        raise RuntimeError("no")

    stub.script(json_reply(answer()))
    capture.on()
    monkeypatch.setattr(captures, "of_response", broken)
    with httpx2.Client(base_url=stub.url) as client:
        assert client.post("/v1/chat/completions", json={}, headers=SECRET_HEADERS).status_code == 200
    for _, texts in queued:
        assert [text for text in texts if SECRET in text] == []
    assert len(capture.rows()) == 1


# --- which headers are kept

NAMES = st.text("abcdefghijklmnopqrstuvwxyzABCXYZ0123456789-_", min_size=1, max_size=40)


@given(NAMES)
def test_a_request_header_that_is_not_on_the_list_goes(name: str):
    rule = load_documents().request_headers
    pair = (name.encode(), b"value")
    assert rule.of_request([pair]) == ([pair] if name.lower() in rule.names else [])
    made = Exchange.build(method="POST", url="http://a/b", request_headers=[(name, "value")])
    kept = made.with_request_headers(rule.keeps).request_headers
    assert kept == (((name.lower(), "value"),) if name.lower() in rule.names else ())


@given(NAMES)
def test_a_secret_is_kept_on_no_list(name: str):
    rule = HeaderList([name])
    assert rule.keeps(name) is not is_secret_name(name)
    pair = (name.encode(), b"value")
    assert of_response([pair]) == ([] if is_secret_name(name) else [pair])


def test_the_list_holds_what_documents_name():
    rule = load_documents().request_headers
    assert all(map(rule.keeps, ("OpenAI-Organization", "anthropic-beta", "traceparent", "X-Session-Id", "user-agent")))
    assert not any(map(rule.keeps, ("authorization", "cookie", "x-forwarded-for", "x-api-key", "baggage", "from")))


# --- where content goes


def scrambled(content: str, call_id: str) -> str:
    """Return content that only those can read who know how it was scrambled."""
    return f"{call_id}:{codecs.encode(content, 'rot13')}"


def ask(stub: StubServer, *, stream: bool) -> None:
    chunk = b'data: {"id":"c1","model":"gpt-4o","choices":[{"index":0,"delta":{"content":"Hi there"}}]}\n\n'
    stub.script(sse_reply([chunk, b"data: [DONE]\n\n"]) if stream else json_reply(answer()))
    messages = [{"role": "user", "content": "What is it?"}]
    with (
        httpx2.Client(base_url=stub.url) as client,
        client.stream(
            "POST", "/v1/chat/completions", json={"model": "gpt-4o", "messages": messages, "stream": stream}
        ) as response,
    ):
        response.read()


@pytest.mark.parametrize("stream", [False, True])
def test_content_is_stored_as_the_application_s_function_returns_it(stream: bool, stub: StubServer, capture: Recorder):
    capture.on(capture_content=scrambled)
    ask(stub, stream=stream)
    row = capture.row()
    call_id, _, text = row["content"].partition(":")
    assert call_id == row["call_id"]
    assert "What is it?" in codecs.decode(text, "rot13")
    assert "What is it?" not in str(row)


def test_content_that_was_put_elsewhere_is_not_stored(stub: StubServer, capture: Recorder):
    elsewhere: dict[str, str] = {}
    capture.on(capture_content=lambda content, call_id: elsewhere.update({call_id: content}))
    ask(stub, stream=False)
    row = capture.row()
    assert row["content"] is None
    assert "What is it?" in elsewhere[row["call_id"]]


def test_content_is_not_stored_where_the_function_fails(stub: StubServer, capture: Recorder):
    def broken(_content: str, _call_id: str) -> str:
        raise OSError("the key service is away")

    capture.on(capture_content=broken)
    ask(stub, stream=False)
    row = capture.row()
    assert row["content"] is None
    assert row["response_id"] == "c1"
    assert health.snapshot()["content.keep"] == 1
    assert os.environ.get("OTEL_INSTRUMENTATION_GENAI_CAPTURE_MESSAGE_CONTENT") is None
