"""Credentials go before anything waits in a queue; content goes where the application says, or nowhere."""

from __future__ import annotations

import asyncio
import contextvars
import gc
import gzip
import os
import types
from typing import TYPE_CHECKING, Any

import anthropic
import httpx
import httpx2
import openai
import orjson
import pytest
import requests
import turnledger
from cryptography.fernet import Fernet
from hypothesis import given
from hypothesis import strategies as st
from said import completion
from stub_server import Reply, json_reply, sse_reply
from turnledger.instrument import capture as captures
from turnledger.instrument import health
from turnledger.instrument.documents import load_documents
from turnledger.instrument.exchange import REDACTED, Exchange, clean_headers, clean_url, clean_value, is_secret_name
from turnledger.instrument.headers import HeaderList, of_response
from turnledger.instrument.redact import without_secrets
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
    (refused, _), (_, texts) = queued
    assert SECRET not in str((refused.sent.url, refused.sent.headers, refused.response_headers))  # its body says it
    assert [text for text in texts if SECRET in text] == []
    for row in capture.rows():
        assert SECRET not in str({name: value for name, value in row.items() if name != "content"})


def remembered() -> list[str]:
    """Return the texts with a secret that this thread remembers for its next calls."""
    return [text for text in strings(list(contextvars.copy_context().values())) if SECRET in text]


def test_a_failed_try_is_remembered_without_its_address(stub: StubServer, capture: Recorder):
    answers = [json_reply({}, status=429), json_reply({}, status=307, location=f"/v1/elsewhere?{QUERY}")]
    stub.script(*answers, json_reply(answer()))
    capture.on()
    with httpx2.Client() as client:
        for _ in answers:
            client.post(f"{stub.url}/v1/chat/completions?{QUERY}", json={}, headers=SECRET_HEADERS)
            assert remembered() == []
        client.post(f"{stub.url}/v1/chat/completions?{QUERY}", json={}, headers=SECRET_HEADERS)
    assert [row["attempt_index"] for row in capture.rows()] == [0, 1, 0]


def test_what_begins_during_a_call_and_outlives_it_keeps_no_address(capture: Recorder):
    capture.hosts = {"api.acme.test": "openai"}
    capture.on()
    copies: list[contextvars.Context] = []

    def serve(request: httpx2.Request) -> httpx2.Response:
        copies.append(contextvars.copy_context())
        return httpx2.Response(200, json=answer(), request=request)

    with httpx2.Client(transport=httpx2.MockTransport(serve)) as client:
        client.post(f"http://user:{SECRET}@api.acme.test/v1/chat/completions?{QUERY}", json={})
    assert capture.row()["response_id"] == "c1"
    assert [text for text in strings(list(copies[0].values())) if SECRET in text] == []


def test_addresses_in_headers_lose_their_credentials(stub: StubServer, capture: Recorder, queued: list[Any]):
    signed = f"https://user:{SECRET}@files.acme.test/a?X-Amz-Signature={SECRET}&page=2"
    stub.script(json_reply(answer(), location=signed, link=f'<{signed}>; rel="next"', x_next=f"/a?sig={SECRET}"))
    capture.on()
    given = {"HTTP-Referer": signed, "x-portkey-config": f'{{"api_key": "{SECRET}"}}'}
    with httpx2.Client(base_url=stub.url) as client:
        client.post("/v1/chat/completions", json={}, headers=given)
    assert [text for text in queued[0][1] if SECRET in text] == []
    kept = orjson.loads(capture.row()["raw_metadata"])
    there = f"https://files.acme.test/a?X-Amz-Signature={REDACTED}&page=2"
    assert kept["request_headers"]["http-referer"] == there
    assert "x-portkey-config" not in kept["request_headers"]
    found = kept["response_headers"]
    assert (found["location"], found["link"]) == (there, f'<{there}>; rel="next"')
    assert found["x-next"] == f"/a?sig={REDACTED}"


# --- what is there to hand out credentials

HANDED_OUT = {"value": SECRET, "client_secret": {"value": SECRET}, "session": {"id": "sess_1", "model": "m-1"}}
AROUND = [
    Reply(orjson.dumps(HANDED_OUT), 200, {"content-type": "application/json"}),
    Reply(gzip.compress(orjson.dumps(HANDED_OUT)), 200, {"content-encoding": "gzip"}),
    Reply([orjson.dumps(HANDED_OUT)[:40], orjson.dumps(HANDED_OUT)[40:]]),
]


@pytest.mark.parametrize("reply", AROUND, ids=["plain", "packed", "in chunks"])
@pytest.mark.parametrize("stream", [False, True])
def test_credentials_that_are_handed_out_wait_in_no_queue(
    reply: Reply, stream: bool, stub: StubServer, capture: Recorder, queued: list[Any]
):
    stub.script(reply)
    capture.on(capture_content=True)
    with httpx.Client(base_url=stub.url) as client:
        request = client.build_request("POST", "/v1/realtime/client_secrets", json={"session": {"model": "m-1"}})
        response = client.send(request, stream=stream)
        assert orjson.loads(response.read()) == HANDED_OUT
    assert [text for text in queued[0][1] if SECRET in text] == []
    row = capture.row()
    assert dict(row["identifiers"])["session_id"] == ["sess_1"]
    assert row["response_model"] == "m-1"
    assert SECRET not in str(row)


@pytest.mark.parametrize("body", [SECRET.encode(), b'{"x": "' + b"x" * 70_000 + SECRET.encode() + b'"}', b"[" * 9000])
def test_what_cannot_be_taken_out_is_left_out_with_all_around_it(
    body: bytes, stub: StubServer, capture: Recorder, queued: list[Any]
):
    stub.script(Reply(body, 200, {"x-request-id": "req_1"}))
    capture.on()
    assert httpx.post(f"{stub.url}/v1/realtime/client_secrets", json={}).content == body
    assert [text for text in queued[0][1] if SECRET in text] == []
    assert capture.row()["request_id"] == "req_1"


@pytest.mark.parametrize("odd", [str(2**70), "-1" + "0" * 30, r'"\ud800"'], ids=["large", "small", "surrogate"])
def test_values_of_no_64_bits_and_no_unicode_are_handed_on(odd: str, stub: StubServer, capture: Recorder):
    body = f'{{"value": "{SECRET}", "odd": {odd}, "session": {{"id": "sess_1"}}}}'
    stub.script(Reply(body.encode(), 200, {"x-request-id": "req_1"}))
    capture.on()
    httpx.post(f"{stub.url}/v1/realtime/client_secrets", json={})
    row = capture.row()
    assert (row["request_id"], dict(row["identifiers"])["session_id"]) == ("req_1", ["sess_1"])
    assert SECRET not in str(row)
    assert health.snapshot() == {}


def test_secrets_are_taken_out_and_nothing_else():
    rules = load_documents().documents["openai"].surfaces[0].rules.with_secrets(["Value"])
    said = {"value": 5, "text": "Hello you", "key": ["sk-" + "a" * 20], "x": {"value": [1], "n": None}, "api_key": ""}
    expected = {**said, "value": REDACTED, "key": [REDACTED], "x": {"value": REDACTED, "n": None}}
    assert without_secrets(said, rules) == expected


@pytest.mark.parametrize("library", [httpx, requests])
def test_a_packed_answer_is_unpacked_as_far_as_is_kept(
    library: Any, stub: StubServer, capture: Recorder, queued: list[Any], monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(captures, "MAX_BODY", 1 << 20)
    packed = gzip.compress(b'{"id": "c1", "x": "' + b"x" * (20 << 20) + b'"}')
    stub.script(Reply([packed], 200, {"content-encoding": "gzip"}))
    capture.on()
    taken: list[int] = []
    bounded = captures.bounded_body
    for seam in ("httpx_clients", "urllib3_pools"):
        monkeypatch.setattr(
            f"turnledger.instrument.seams.{seam}.bounded_body",
            lambda pieces: (body := bounded(pieces), taken.append(len(body)))[0],
        )
    if library is httpx:
        with httpx.stream("POST", f"{stub.url}/v1/chat/completions", json={}) as response:
            assert len(response.read()) > 20 << 20
    else:
        with requests.post(f"{stub.url}/v1/chat/completions", json={}, stream=True, timeout=10) as response:
            assert len(response.content) > 20 << 20
    assert orjson.loads(capture.row()["raw_metadata"])["body_cut"] is True
    assert taken == [(1 << 20) + 1]
    assert len(queued) == 1


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


@pytest.mark.parametrize(
    "name",
    [
        "accessToken",
        "X-AuthToken",
        "x-authtoken",
        "clientSecret",
        "AWSAccessKeyId",
        "subscription-key",
        "sharedkey",
        "pwd",
    ],
)
def test_words_that_are_written_together_are_secrets_too(name: str):
    assert is_secret_name(name)
    assert clean_headers([(name, SECRET)]) == ()
    assert SECRET not in clean_url(f"https://acme.test/a?{name}={SECRET}")


@pytest.mark.parametrize("name", ["x-input-token-count", "x-ratelimit-remaining-tokens", "X-Keyword", "monkey", "ETag"])
def test_words_that_are_none_are_kept(name: str):
    assert not is_secret_name(name)


@given(st.text('aé ?&=@:/#<>",;%[]', max_size=60))
def test_a_value_is_clean_when_it_was_cleaned(value: str):
    once = clean_value(value)
    assert clean_value(once) == once
    if "?" not in value and "@" not in value:
        assert once == value


@given(st.text("ab/:-", max_size=8), st.text("ab<>, ;", max_size=8))
def test_what_stands_around_an_address_hides_nothing_of_it(before: str, after: str):
    for address in (f"https://user:{SECRET}@a.test/x", f"https://a.test/x?sig={SECRET}", f"/x?a=1&token={SECRET}"):
        assert SECRET not in clean_value(f"{before}{address}{after}")


def test_the_list_holds_what_documents_name():
    rule = load_documents().request_headers
    assert all(map(rule.keeps, ("OpenAI-Organization", "anthropic-beta", "traceparent", "X-Session-Id", "user-agent")))
    assert not any(map(rule.keeps, ("authorization", "cookie", "x-forwarded-for", "x-api-key", "baggage", "from")))


# --- where content goes


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
    cipher = Fernet(Fernet.generate_key())

    def encrypt(content: str, call_id: str) -> str:
        return f"{call_id}:{cipher.encrypt(content.encode()).decode()}"

    capture.on(capture_content=encrypt)
    ask(stub, stream=stream)
    row = capture.row()
    call_id, _, text = row["content"].partition(":")
    assert call_id == row["call_id"]
    content = orjson.loads(cipher.decrypt(text))
    assert content["request"]["messages"] == [{"role": "user", "content": "What is it?"}]
    assert ("Hi there" if stream else "Hello!") in content["response"]
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
    assert health.snapshot()["content.callable"] == 1
    assert os.environ.get("OTEL_INSTRUMENTATION_GENAI_CAPTURE_MESSAGE_CONTENT") is None
