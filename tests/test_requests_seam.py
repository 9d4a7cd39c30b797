"""requests and plain urllib3: no byte is changed, every HTTP attempt is a row, untouched traffic stays so."""

from __future__ import annotations

import gc
import gzip
import io
import weakref
from typing import TYPE_CHECKING, Any

import httpx
import pytest
import requests
import urllib3
from requests.adapters import HTTPAdapter
from sdk_bodies import CHAT, CHAT_STREAM
from stub_server import Reply, json_reply, sse_reply
from turnledger.instrument import health
from urllib3.connectionpool import HTTPConnectionPool

if TYPE_CHECKING:
    from collections.abc import Callable

    from conftest import Recorder
    from stub_server import StubServer

PATH = "/v1/chat/completions"
ASKED = {"model": "gpt-5-mini", "messages": [{"role": "user", "content": "Say hello."}], "stream": True}
BODY = b"".join(CHAT_STREAM)
GZIP = {"content-encoding": "gzip", "content-type": "text/event-stream"}

REQUESTS_READS: dict[str, Callable[[Any], Any]] = {
    "content": lambda response: response.content,
    "text": lambda response: response.text,
    "iter_content": lambda response: list(response.iter_content(7)),
    "iter_content as it comes": lambda response: list(response.iter_content(None)),
    "iter_lines": lambda response: list(response.iter_lines()),
    "raw.read": lambda response: response.raw.read(),
    "raw.read in pieces": lambda response: list(iter(lambda: response.raw.read(11), b"")),
    "raw.read decoded": lambda response: response.raw.read(decode_content=True),
    "raw.stream": lambda response: list(response.raw.stream(16, decode_content=True)),
    "raw lines": lambda response: list(response.raw),
}


def readinto(response: Any) -> bytes:
    found, buffer = b"", bytearray(9)
    while count := response.readinto(buffer):
        found += buffer[:count]
    return found


def lines(response: Any) -> list[bytes]:
    response.auto_close = False  # as urllib3's manual says for the classes of io
    return io.BufferedReader(response).readlines()


URLLIB3_READS: dict[str, Callable[[Any], Any]] = {
    "data": lambda response: response.data,
    "read": lambda response: response.read(),
    "read in pieces": lambda response: list(iter(lambda: response.read(13), b"")),
    "read1": lambda response: b"".join(iter(response.read1, b"")),
    "readinto": readinto,
    "stream": lambda response: list(response.stream(8)),
    "lines of a buffered reader": lines,
}


def replies() -> dict[str, Reply]:
    packed = gzip.compress(BODY)
    return {
        "chunked": sse_reply(CHAT_STREAM),
        "with its length": Reply(BODY, 200, {"content-type": "text/event-stream"}),
        "gzip": Reply(packed, 200, GZIP),
        "gzip chunked": Reply([packed[at : at + 19] for at in range(0, len(packed), 19)], 200, GZIP),
    }


@pytest.mark.parametrize("reply", replies().values(), ids=replies())
@pytest.mark.parametrize("read", REQUESTS_READS.values(), ids=REQUESTS_READS)
def test_requests_streams(read: Callable[[Any], Any], reply: Reply, stub: StubServer, capture: Recorder):
    stub.script(reply)

    def call() -> Any:
        with requests.Session() as session:
            response = session.post(stub.url + PATH, json=ASKED, stream=True)
            found = read(response)
        return found, response.status_code, dict(response.headers), type(response.raw).__name__

    _, rows = capture.same_with_and_without(call)
    assert [(row["response_id"], row["output_tokens"], row["error_type"]) for row in rows] == [(CHAT["id"], 10, None)]
    assert (rows[0]["request_model"], rows[0]["is_stream"]) == ("gpt-5-mini", True)
    assert health.snapshot() == {}


@pytest.mark.parametrize("reply", replies().values(), ids=replies())
@pytest.mark.parametrize("read", URLLIB3_READS.values(), ids=URLLIB3_READS)
def test_urllib3_streams(read: Callable[[Any], Any], reply: Reply, stub: StubServer, capture: Recorder):
    stub.script(reply)

    def call() -> Any:
        with urllib3.PoolManager() as pool:
            response = pool.request("POST", stub.url + PATH, json=ASKED, preload_content=False)
            return read(response), response.status, response.headers, response.tell()

    _, rows = capture.same_with_and_without(call)
    assert [(row["response_id"], row["output_tokens"], row["error_type"]) for row in rows] == [(CHAT["id"], 10, None)]


@pytest.mark.parametrize("decode", [True, False])
def test_urllib3_answers_read_at_once(decode: bool, stub: StubServer, capture: Recorder):
    stub.script(Reply(gzip.compress(BODY), 200, GZIP))

    def call() -> Any:
        with urllib3.PoolManager() as pool:
            return pool.request("POST", stub.url + PATH, json=ASKED, decode_content=decode).data

    found, rows = capture.same_with_and_without(call)
    assert (found == BODY) is decode
    assert [(row["response_id"], row["output_tokens"]) for row in rows] == [(CHAT["id"], 10)]


def test_requests_answers_whole(stub: StubServer, capture: Recorder):
    stub.script(json_reply(CHAT, x_request_id="req_1"))

    def call() -> Any:
        response = requests.post(stub.url + PATH, json={**ASKED, "stream": False}, timeout=5)
        return response.json(), response.headers, response.request.headers

    _, rows = capture.same_with_and_without(call)
    assert [(row["response_id"], row["request_id"]) for row in rows] == [(CHAT["id"], "req_1")]


@pytest.mark.parametrize("kind", ["text", "bytearray", "lines", "file", "nothing"])
def test_request_bodies(kind: str, stub: StubServer, recorder: Recorder):
    text = '{"model":"gpt-5-mini","messages":[{"role":"user","content":"é"}]}'
    bodies = {
        "text": text,
        "bytearray": bytearray(text.encode()),
        "lines": iter([text.encode()]),
        "file": io.BytesIO(text.encode()),
        "nothing": None,
    }
    stub.script(json_reply(CHAT))
    with urllib3.PoolManager() as pool:
        assert pool.request("POST", stub.url + PATH, body=bodies[kind]).json() == CHAT
    assert stub.requests[0].body == (b"" if kind == "nothing" else text.encode())
    # What the application hands over as a stream is not read by us.
    assert recorder.row()["request_model"] == ("gpt-5-mini" if kind in ("text", "bytearray") else None)


def test_retries_of_urllib3_are_attempts_of_one_call(stub: StubServer, capture: Recorder):
    def call() -> Any:
        busy = json_reply({"error": {"type": "overloaded"}}, 503, x_request_id="req_1", retry_after="0")
        stub.script(busy, busy, json_reply(CHAT, x_request_id="req_2"))
        retry = urllib3.Retry(3, status_forcelist=[503], allowed_methods=None)
        with requests.Session() as session:
            session.mount("http://", HTTPAdapter(max_retries=retry))
            return session.post(stub.url + PATH, json=ASKED).json()

    _, rows = capture.same_with_and_without(call)
    assert [(row["status_code"], row["attempt_index"], row["request_id"]) for row in rows] == [
        (503, 0, "req_1"),
        (503, 1, "req_1"),
        (200, 2, "req_2"),
    ]
    assert len({row["call_id"] for row in rows}) == 1


@pytest.mark.parametrize("client", ["requests", "urllib3"])
def test_a_redirect_and_what_it_leads_to_are_one_call(client: str, stub: StubServer, capture: Recorder):
    def call() -> Any:
        stub.script(Reply(b"", 307, {"location": f"{PATH}?again=1"}), json_reply(CHAT))
        if client == "requests":
            return requests.post(stub.url + PATH, json=ASKED, timeout=5).json()
        return urllib3.request("POST", stub.url + PATH, json=ASKED).json()

    _, rows = capture.same_with_and_without(call)
    assert [(row["status_code"], row["attempt_index"]) for row in rows] == [(307, 0), (200, 1)]
    assert len({row["call_id"] for row in rows}) == 1


def test_a_refused_connection(capture: Recorder):
    capture.hosts = {"127.0.0.1:9": "openai"}

    def call() -> str:
        with pytest.raises(requests.ConnectionError) as caught:
            requests.post(f"http://127.0.0.1:9{PATH}", json=ASKED, timeout=5)
        return type(caught.value.args[0]).__name__

    _, rows = capture.same_with_and_without(call)
    assert [(row["error_type"], row["status_code"]) for row in rows] == [("NewConnectionError", None)]


def test_a_timeout_while_reading(stub: StubServer, capture: Recorder):
    stub.script(sse_reply(CHAT_STREAM, chunk_delay_s=2))

    def call() -> Any:
        response = requests.post(stub.url + PATH, json=ASKED, stream=True, timeout=0.2)
        chunks = response.iter_content(None)
        first = next(chunks)
        with pytest.raises(requests.ConnectionError):
            list(chunks)
        return first

    _, rows = capture.same_with_and_without(call)
    assert [(row["error_type"], row["response_id"]) for row in rows] == [("ReadTimeoutError", CHAT["id"])]


def test_a_body_that_ends_too_soon(stub: StubServer, capture: Recorder):
    stub.script(Reply(BODY[:200], 200, {"content-type": "text/event-stream", "Content-Length": "100000"}))

    def call() -> str:
        with pytest.raises(requests.RequestException) as caught:
            requests.post(stub.url + PATH, json=ASKED, timeout=0.3)
        return type(caught.value).__name__

    _, rows = capture.same_with_and_without(call)
    assert len(rows) == 1
    assert rows[0]["error_type"]


@pytest.mark.parametrize("way", ["close", "with", "dropped", "generator"])
def test_streams_closed_early(way: str, stub: StubServer, recorder: Recorder):
    stub.script(sse_reply(CHAT_STREAM, chunk_delay_s=0.05))
    response = requests.post(stub.url + PATH, json=ASKED, stream=True, timeout=5)
    if way == "with":
        with response:
            next(response.iter_content(None))
    else:
        chunks = response.iter_content(None)
        next(chunks)
        if way == "close":
            response.close()
        elif way == "generator":
            chunks.close()
        else:
            gone = weakref.ref(response.raw)
            del chunks, response
            gc.collect()
            assert gone() is None
    row = recorder.row()
    assert (row["error_type"], row["response_id"]) == ("stream_closed_early", CHAT["id"])


def test_no_reference_outlives_the_response(stub: StubServer, recorder: Recorder):
    stub.script(sse_reply(CHAT_STREAM))
    gc.disable()
    try:
        with urllib3.PoolManager() as pool:
            response = pool.request("POST", stub.url + PATH, json=ASKED, preload_content=False)
            gone = weakref.ref(response)
            response.read()
            del response
            assert gone() is None
    finally:
        gc.enable()
    assert recorder.row()["error_type"] is None


def test_a_stream_that_outlives_capture_goes_on(stub: StubServer, capture: Recorder):
    stub.script(sse_reply(CHAT_STREAM))
    capture.on()
    response = requests.post(stub.url + PATH, json=ASKED, stream=True, timeout=5)
    capture.off()
    assert response.content == BODY


def test_a_client_that_sends_through_another_is_one_attempt(stub: StubServer, recorder: Recorder):
    class Transport(httpx.BaseTransport):
        def handle_request(self, request: httpx.Request) -> httpx.Response:
            with urllib3.PoolManager() as pool:
                answer = pool.request("POST", str(request.url), body=request.read(), headers=dict(request.headers))
            return httpx.Response(answer.status, content=answer.data)

    stub.script(json_reply(CHAT))
    with httpx.Client(transport=Transport()) as client:
        assert client.post(stub.url + PATH, json=ASKED).json() == CHAT
    assert recorder.row()["response_id"] == CHAT["id"]


def test_other_traffic_is_untouched(stub: StubServer, capture: Recorder):
    stub.script(json_reply({"ok": True}))
    capture.hosts = {}
    capture.on()
    response = requests.get(f"{stub.url}/health", stream=True, timeout=5)
    assert not {"_raw_read", "_handle_chunk", "read_chunked", "close"} & set(vars(response.raw))
    assert response.json() == {"ok": True}
    assert capture.rows() == []
    assert health.snapshot() == {}


def test_uninstrument_restores_exactly(capture: Recorder):
    before = HTTPConnectionPool.__dict__["_make_request"]
    capture.on()
    wrapped = HTTPConnectionPool.__dict__["_make_request"]
    assert wrapped is not before
    capture.on()
    assert HTTPConnectionPool.__dict__["_make_request"] is wrapped
    capture.off()
    capture.off()
    assert HTTPConnectionPool.__dict__["_make_request"] is before


@pytest.mark.parametrize("step", ["respond", "finish", "enter", "chunk", "leave"])
def test_our_failures_stay_ours(step: str, stub: StubServer, recorder: Recorder, monkeypatch: pytest.MonkeyPatch):
    def failing(*_: Any, **__: Any) -> None:
        raise RuntimeError("injected")

    stub.script(sse_reply(CHAT_STREAM))
    monkeypatch.setattr(f"turnledger.instrument.capture.Capture.{step}", failing)
    assert requests.post(stub.url + PATH, json=ASKED, timeout=5).content == BODY
    assert health.snapshot()[f"urllib3.{step}"] >= 1
    assert recorder.row()["request_model"] == "gpt-5-mini"


def test_an_endpoint_at_the_root_of_its_host_behind_a_proxy(stub: StubServer, capture: Recorder):
    stub.script(json_reply({"generated_text": "Hello"}))
    capture.hosts = {"tgi.acme.test": "huggingface"}
    capture.on()
    proxies = {"http": stub.url}
    requests.post("http://tgi.acme.test/?a=b", json={"inputs": "Hi"}, proxies=proxies, timeout=10)
    assert capture.row()["server_address"] == "tgi.acme.test"
