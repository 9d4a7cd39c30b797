"""Plain httpx and httpx2 clients: no byte is changed, every call is a row, our failures stay ours."""

from __future__ import annotations

import asyncio
import gzip
import importlib
import itertools
import logging
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import orjson
import pytest
import turnledger
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sdk_bodies import CHAT, CHAT_STREAM
from stub_server import Reply, json_reply, sse_reply
from turnledger.instrument import health

if TYPE_CHECKING:
    from conftest import Recorder
    from stub_server import StubServer

URL = "https://api.openai.com/v1/chat/completions"
ASKED = {"model": "gpt-5-mini", "messages": [{"role": "user", "content": "Say hello."}], "stream": True}
BODY = b"".join(CHAT_STREAM)
VOLATILE = {"span_id", "trace_id", "call_id", "started_at", "ended_at", "duration_ms", "first_chunk_ms"}


@pytest.fixture(params=["httpx", "httpx2"])
def library(request: pytest.FixtureRequest) -> Any:
    return importlib.import_module(request.param)


def chunked(library: Any, chunks: list[bytes]) -> Any:
    """Return a stream of chunks that a sync and an async client can read."""

    class Chunks(library.SyncByteStream, library.AsyncByteStream):
        closed = 0

        def __iter__(self):
            yield from chunks

        async def __aiter__(self):
            for chunk in chunks:
                yield chunk

        def close(self) -> None:
            self.closed += 1

        async def aclose(self) -> None:
            self.closed += 1

    return Chunks()


def transport(library: Any, chunks: list[bytes], **headers: str) -> Any:
    named = {
        "content-type": "text/event-stream",
        **{key.replace("_", "-"): value for key, value in headers.items()},
    }
    return library.MockTransport(lambda _: library.Response(200, headers=named, stream=chunked(library, chunks)))


def read(library: Any, chunks: list[bytes], **headers: str) -> list[bytes]:
    with (
        library.Client(transport=transport(library, chunks, **headers)) as client,
        client.stream("POST", URL, json=ASKED) as response,
    ):
        return list(response.iter_raw())


async def aread(library: Any, chunks: list[bytes], **headers: str) -> list[bytes]:
    async with (
        library.AsyncClient(transport=transport(library, chunks, **headers)) as client,
        client.stream("POST", URL, json=ASKED) as response,
    ):
        return [chunk async for chunk in response.aiter_raw()]


def stable(row: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in row.items() if key not in VOLATILE}


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(cuts=st.lists(st.integers(0, len(BODY)), max_size=12))
def test_chunk_boundaries_change_nothing(cuts: list[int], library: Any, recorder: Recorder):
    edges = [0, *sorted(cuts), len(BODY)]
    # The libraries themselves skip empty chunks.
    chunks = [BODY[a:b] for a, b in itertools.pairwise(edges) if a < b]
    assert read(library, [BODY]) == [BODY]
    whole = recorder.row()
    assert read(library, chunks) == chunks
    assert stable(recorder.row()) == stable(whole)
    assert asyncio.run(aread(library, chunks)) == chunks
    assert stable(recorder.row()) == stable(whole)
    assert (whole["response_id"], whole["input_tokens"], whole["error_type"]) == (CHAT["id"], 19, None)


def test_gzip_streams(library: Any, recorder: Recorder):
    packed = gzip.compress(BODY)
    chunks = [packed[at : at + 7] for at in range(0, len(packed), 7)]
    assert read(library, chunks, content_encoding="gzip") == chunks
    assert asyncio.run(aread(library, chunks, content_encoding="gzip")) == chunks
    assert [row["output_tokens"] for row in recorder.rows()] == [10, 10]


def test_gzip_over_a_socket(library: Any, stub: StubServer, recorder: Recorder):
    stub.script(Reply([gzip.compress(BODY)], 200, {"content-encoding": "gzip", "content-type": "text/event-stream"}))
    with (
        library.Client() as client,
        client.stream("POST", f"{stub.url}/v1/chat/completions", json=ASKED) as response,
    ):
        assert response.read() == BODY
    assert recorder.row()["output_tokens"] == 10


def test_plain_responses(library: Any, stub: StubServer, capture: Recorder):
    stub.script(json_reply(CHAT, x_request_id="req_1"))

    def call() -> Any:
        with library.Client() as client:
            response = client.post(f"{stub.url}/v1/chat/completions", json={**ASKED, "stream": False})
        return response.status_code, response.content, response.headers.raw

    _, rows = capture.same_with_and_without(call)
    assert [(row["response_id"], row["request_id"]) for row in rows] == [(CHAT["id"], "req_1")]


def test_other_traffic_is_untouched(library: Any, stub: StubServer, capture: Recorder):
    stub.script(json_reply({"ok": True}))
    capture.hosts = {}
    capture.on()
    with library.Client() as client:
        assert client.get(f"{stub.url}/health").json() == {"ok": True}
        with client.stream("GET", f"{stub.url}/v1/models") as response:
            assert type(response.stream).__name__ != "TeeStream"
            response.read()
    assert capture.rows() == []
    assert health.snapshot() == {}


def test_uninstrument_restores_send_exactly(library: Any, capture: Recorder):
    kinds = (library.Client, library.AsyncClient)
    before = [kind.__dict__["send"] for kind in kinds]
    first = capture.on()
    wrapped = [kind.__dict__["send"] for kind in kinds]
    assert all(ours is not original for ours, original in zip(wrapped, before, strict=True))
    assert capture.on() is first
    assert [kind.__dict__["send"] for kind in kinds] == wrapped
    capture.off()
    capture.off()
    assert [kind.__dict__["send"] for kind in kinds] == before


def test_a_stream_that_outlives_capture_goes_on(library: Any, capture: Recorder):
    capture.on()
    with (
        library.Client(transport=transport(library, CHAT_STREAM)) as client,
        client.stream("POST", URL, json=ASKED) as response,
    ):
        chunks = response.iter_raw()
        first = next(chunks)
        capture.off()
        assert [first, *chunks] == CHAT_STREAM


def test_a_dropped_response_is_recorded(library: Any, recorder: Recorder):
    with library.Client(transport=transport(library, CHAT_STREAM)) as client:
        response = client.send(client.build_request("POST", URL, json=ASKED), stream=True)
        next(response.iter_raw())
        response.close()
    row = recorder.row()
    assert (row["error_type"], row["response_id"]) == ("stream_closed_early", CHAT["id"])


def test_many_threads(library: Any, stub: StubServer, recorder: Recorder):
    stub.script(sse_reply(CHAT_STREAM))
    with library.Client() as client, ThreadPoolExecutor(8) as pool:

        def call(_: int) -> bytes:
            return client.post(f"{stub.url}/v1/chat/completions", json=ASKED).content

        assert set(pool.map(call, range(60))) == {BODY}
    rows = recorder.rows()
    assert len({row["call_id"] for row in rows}) == len(rows) == 60


def test_instrument_from_many_threads(capture: Recorder):
    barrier = threading.Barrier(8)

    def switch(_: int) -> Any:
        barrier.wait()
        return capture.on()

    with ThreadPoolExecutor(8) as pool:
        assert len(set(pool.map(switch, range(8)))) == 1


def test_the_same_failure_in_another_conversation_is_another_call(library: Any, recorder: Recorder):
    busy = library.MockTransport(lambda _: library.Response(429, json={"error": {"type": "rate_limit_error"}}))
    with library.Client(transport=busy) as client:
        for conversation in ("a", "a", "b"):
            with turnledger.conversation(conversation):
                client.post(URL, json=ASKED)
    rows = recorder.rows()
    assert [(row["conversation_id"], row["attempt_index"]) for row in rows] == [("a", 0), ("a", 1), ("b", 0)]
    assert rows[0]["call_id"] == rows[1]["call_id"] != rows[2]["call_id"]


def test_a_cut_gzip_stream_keeps_what_was_read(library: Any, recorder: Recorder):
    packed = gzip.compress(BODY)
    assert read(library, [packed[:-12]], content_encoding="gzip") == [packed[:-12]]
    assert recorder.row()["response_id"] == CHAT["id"]


def failing(*_: Any, **__: Any) -> Any:
    raise RuntimeError("injected")


def twice(library: Any) -> None:
    for _ in range(2):
        assert read(library, CHAT_STREAM) == CHAT_STREAM


def logged(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [record.getMessage() for record in caplog.records if record.name == "turnledger"]


def test_failing_extraction(library: Any, recorder: Recorder, monkeypatch: Any, caplog: pytest.LogCaptureFixture):
    monkeypatch.setattr(sys.modules["turnledger.instrument.recording"], "extract_matched", failing)
    twice(library)
    assert [row["error_type"] for row in recorder.rows()] == ["turnledger.extract"] * 2
    assert health.snapshot() == {"extract": 2}
    assert len(logged(caplog)) == 1


def test_failing_registry(library: Any, capture: Recorder, monkeypatch: Any, caplog: pytest.LogCaptureFixture):
    monkeypatch.setattr(capture.on().registry, "match", failing, raising=True)
    twice(library)
    assert capture.rows() == []
    assert health.snapshot() == {"httpx.begin": 2}
    assert len(logged(caplog)) == 1


@pytest.mark.parametrize("step", ["respond", "finish", "enter"])
def test_failing_capture(
    step: str, library: Any, recorder: Recorder, monkeypatch: Any, caplog: pytest.LogCaptureFixture
):
    monkeypatch.setattr(f"turnledger.instrument.capture.Capture.{step}", failing)
    twice(library)
    rows = recorder.rows()
    assert health.snapshot()[f"httpx.{step}"] == 2
    assert all("not affected" in message for message in logged(caplog))
    # The failure is ours: the call has its row all the same, and the row says that something is missing.
    assert len({row["call_id"] for row in rows}) == len(rows) == 2
    for row in rows:
        assert (row["provider"], row["surface"], row["request_model"]) == ("openai", "chat.completions", "gpt-5-mini")
        lost = step != "enter"
        assert row["error_type"] == (f"turnledger.{step}" if lost else None)
        assert row["attributes"] == (f'{{"turnledger.failed_step":"{step}"}}' if lost else None)
        assert row["response_id"] == (None if step == "respond" else CHAT["id"])


def test_failing_tee(library: Any, recorder: Recorder, monkeypatch: Any):
    monkeypatch.setattr("turnledger.instrument.capture.Capture.chunk", failing)
    twice(library)
    assert asyncio.run(aread(library, CHAT_STREAM)) == CHAT_STREAM
    rows = recorder.rows()
    assert health.snapshot()["httpx.chunk"] == 3 * len(CHAT_STREAM)
    assert [orjson.loads(row["raw_metadata"])["body_cut"] for row in rows] == [True] * 3


def test_failing_exporter(library: Any, recorder: Recorder, monkeypatch: Any, caplog: pytest.LogCaptureFixture):
    monkeypatch.setattr(recorder.exporter, "export", failing)
    twice(library)
    assert turnledger.flush(10)
    assert health.snapshot()["worker.lost_spans"] == 2
    assert len(logged(caplog)) == 1


def test_full_queue_works_inline(library: Any, recorder: Recorder, monkeypatch: Any):
    monkeypatch.setattr("turnledger.instrument.worker.MAX_QUEUED", 0)
    twice(library)
    assert [row["response_id"] for row in recorder.rows()] == [CHAT["id"]] * 2
    assert health.snapshot()["worker.inline"] >= 2


def test_a_broken_log_handler_stays_ours(library: Any, capture: Recorder, monkeypatch: Any):
    monkeypatch.setattr(capture.on().registry, "match", failing)
    handler = logging.Handler()
    monkeypatch.setattr(handler, "emit", failing)
    logger = logging.getLogger("turnledger")
    logger.addHandler(handler)
    try:
        twice(library)
    finally:
        logger.removeHandler(handler)


def test_http_spans_nest_under_ours(library: Any, stub: StubServer, capture: Recorder):
    capture.on(http_spans=True)
    stub.script(json_reply(CHAT))
    with library.Client() as client:
        client.post(f"{stub.url}/v1/chat/completions", json=ASKED)
    rows = capture.rows()
    ours = [row for row in rows if row["call_id"]]
    plain = [row for row in rows if not row["call_id"]]
    assert [row["parent_span_id"] for row in plain] == [ours[0]["span_id"]]
    assert len(ours) == 1
