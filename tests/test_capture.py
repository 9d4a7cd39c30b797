"""Capture's own rules: bodies that cannot be read, which attempts are one call."""

from __future__ import annotations

import asyncio
import importlib
import random
from typing import TYPE_CHECKING, Any

import orjson
import pytest
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from sdk_bodies import CHAT, CHAT_STREAM
from stub_server import Reply, json_reply, sse_reply
from turnledger.instrument import attempts, health

if TYPE_CHECKING:
    from conftest import Recorder
    from stub_server import StubServer

ASKED = orjson.dumps({"model": "gpt-5-mini", "messages": [{"role": "user", "content": "Say hello."}]})
KNOWN_LENGTH = {"content-length": str(len(ASKED)), "content-type": "application/json"}
BUSY = json_reply({"error": {"type": "overloaded_error", "message": "Later please."}}, 503)


@pytest.fixture(params=["httpx", "httpx2"])
def library(request: pytest.FixtureRequest) -> Any:
    return importlib.import_module(request.param)


# --- bodies that are streams


def post_iterator(library: Any, url: str) -> Any:
    with library.Client() as client:
        return client.post(url, content=iter([ASKED[:9], ASKED[9:]]), headers=KNOWN_LENGTH)


async def post_async_iterator(library: Any, url: str) -> Any:
    async def body() -> Any:
        yield ASKED[:9]
        yield ASKED[9:]

    async with library.AsyncClient() as client:
        return await client.post(url, content=body(), headers=KNOWN_LENGTH)


@pytest.mark.parametrize("surface", ["chat/completions", "completions", "embeddings"])
def test_a_streamed_request_to_a_known_host_is_a_call(surface: str, library: Any, stub: StubServer, recorder: Recorder):
    stub.script(json_reply(CHAT))
    url = f"{stub.url}/v1/{surface}"
    assert post_iterator(library, url).json() == CHAT
    assert asyncio.run(post_async_iterator(library, url)).json() == CHAT
    assert [request.body for request in stub.requests] == [ASKED, ASKED]
    for row in recorder.rows():
        assert (row["surface"], row["response_id"]) == (surface.replace("/", "."), CHAT["id"])
        assert (row["request_model"], row["message_count"]) == (None, None)
        assert orjson.loads(row["raw_metadata"])["request_unread"] is True
    assert health.snapshot() == {}


def test_a_streamed_request_to_an_unknown_host_has_to_be_answered_like_a_call(
    library: Any, stub: StubServer, capture: Recorder
):
    capture.hosts = {}
    capture.on()
    url = f"{stub.url}/v1/chat/completions"
    stub.script(json_reply({"ok": True}), json_reply(CHAT))
    post_iterator(library, url)
    assert capture.rows() == []
    post_iterator(library, url)
    row = capture.row()
    assert (row["provider"], row["input_tokens"]) == ("openai_compatible", 19)


@pytest.mark.parametrize("http_spans", [False, True])
def test_a_request_that_is_no_call_after_all_leaves_no_call(
    http_spans: bool, library: Any, stub: StubServer, capture: Recorder
):
    capture.hosts = {}
    capture.on(http_spans=http_spans)
    stub.script(json_reply({"ok": True}))
    with library.Client() as client:
        client.post(f"{stub.url}/app/responses", json={"answers": [1, 2]})
    rows = capture.rows()
    assert [row["call_id"] for row in rows] == [None] * (2 if http_spans else 0)
    if http_spans:  # the span that others have for their parent is not missing
        outer, inner = sorted(rows, key=lambda row: row["parent_span_id"] is not None)
        assert (inner["parent_span_id"], outer["name"]) == (outer["span_id"], "HTTP POST")


# --- which attempts are one call


def tries(recorder: Recorder) -> list[tuple[int, int]]:
    """Return every attempt as number of its call and of the attempt."""
    calls: dict[str, int] = {}
    return [(calls.setdefault(row["call_id"], len(calls)), row["attempt_index"]) for row in recorder.rows()]


def post(library: Any, stub: StubServer, *counts: int | None) -> None:
    with library.Client() as client:
        for count in counts:
            headers = {} if count is None else {"x-sdk-retry-count": str(count)}
            client.post(f"{stub.url}/v1/chat/completions", content=ASKED, headers=headers)


@pytest.mark.parametrize(
    ("counts", "expected"),
    [
        ((0, 1, 2), [(0, 0), (0, 1), (0, 2)]),
        ((0, 0, 1, 0), [(0, 0), (1, 0), (1, 1), (2, 0)]),  # the application asks again: a call of its own
        ((None, None), [(0, 0), (0, 1)]),
        ((0, None, None), [(0, 0), (1, 0), (1, 1)]),  # another client, which does not count
        ((None, 0), [(0, 0), (1, 0)]),
    ],
)
def test_a_counted_first_try_begins_a_call(
    counts: tuple[int | None, ...], expected: list[tuple[int, int]], library: Any, stub: StubServer, recorder: Recorder
):
    stub.script(BUSY)
    post(library, stub, *counts)
    assert tries(recorder) == expected


class Clock:
    """A clock that stands still until it is told to go on."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now_s = 1000.0
        monkeypatch.setattr(attempts.time, "perf_counter_ns", lambda: int(self.now_s * 1e9))


@pytest.mark.parametrize(
    ("headers", "pause_s", "same"),
    [
        ({}, 59, True),
        ({}, 61, False),
        ({"retry-after": "30"}, 89, True),
        ({"retry-after": "30"}, 91, False),
        ({"retry-after-ms": "30000"}, 89, True),
        ({"retry-after": "Wed, 21 Oct 2026 07:28:00 GMT"}, 61, False),
    ],
)
def test_without_a_count_time_decides(  # noqa: PLR0913  the cases and the fixtures
    headers: dict[str, str], pause_s: float, same: bool, stub: StubServer, recorder: Recorder, monkeypatch: Any
):
    library = importlib.import_module("httpx2")
    clock = Clock(monkeypatch)
    stub.script(Reply(BUSY.body, 503, headers))
    post(library, stub, None)
    clock.now_s += pause_s
    post(library, stub, None)
    assert tries(recorder) == [(0, 0), (0, 1) if same else (1, 0)]


def test_a_counted_try_may_come_late(stub: StubServer, recorder: Recorder, monkeypatch: Any):
    library = importlib.import_module("httpx2")
    clock = Clock(monkeypatch)
    stub.script(BUSY)
    post(library, stub, 0)
    clock.now_s += 3600
    post(library, stub, 1)
    assert tries(recorder) == [(0, 0), (0, 1)]


def test_bodies_that_were_not_read_are_not_compared(library: Any, stub: StubServer, recorder: Recorder):
    stub.script(BUSY)
    for _ in range(2):
        post_iterator(library, f"{stub.url}/v1/chat/completions")
    assert tries(recorder) == [(0, 0), (1, 0)]


def test_a_client_inside_a_client_is_one_attempt(stub: StubServer, recorder: Recorder):
    inner, outer = importlib.import_module("httpx"), importlib.import_module("httpx2")

    def forward(request: Any) -> Any:
        with inner.Client() as client:
            answer = client.post(str(request.url), content=request.content)
        return outer.Response(answer.status_code, content=answer.content)

    stub.script(json_reply(CHAT))
    with outer.Client(transport=outer.MockTransport(forward)) as client:
        client.post(f"{stub.url}/v1/chat/completions", content=ASKED)
    assert recorder.row()["response_id"] == CHAT["id"]


def test_a_stream_keeps_its_span_inside_the_span_around_it(stub: StubServer, recorder: Recorder):
    library = importlib.import_module("httpx2")
    stub.script(sse_reply(CHAT_STREAM))
    with (
        TracerProvider().get_tracer("app").start_as_current_span("turn") as span,
        library.Client() as client,
        client.stream("POST", f"{stub.url}/v1/chat/completions", content=ASKED) as response,
    ):
        response.read()
    around, row = span.get_span_context(), recorder.row()
    assert (row["trace_id"], row["parent_span_id"]) == (f"{around.trace_id:032x}", f"{around.span_id:016x}")


def test_a_pipeline_of_the_application_gets_the_calls(stub: StubServer, capture: Recorder):
    provider = TracerProvider()
    capture.on(tracer_provider=provider)
    provider.add_span_processor(SimpleSpanProcessor(capture.exporter))
    stub.script(BUSY, json_reply(CHAT))
    post(importlib.import_module("httpx2"), stub, 0, 1)
    rows = capture.rows()
    assert [(row["attempt_index"], row["status_code"], row["span_status"]) for row in rows] == [
        (0, 503, "ERROR"),
        (1, 200, "UNSET"),
    ]
    assert {row["call_id"] for row in rows} == {rows[0]["span_id"]}
    provider.shutdown()


@pytest.mark.parametrize("http_spans", [False, True])
def test_a_seeded_generator_makes_no_two_calls_alike(
    http_spans: bool, library: Any, stub: StubServer, capture: Recorder
):
    """Applications seed Python's generator; ids must differ from run to run all the same."""
    capture.on(http_spans=http_spans)
    stub.script(json_reply(CHAT), json_reply(CHAT))
    ids: set[tuple[str, str]] = set()
    for _ in range(2):
        random.seed(42)
        library.post(f"{stub.url}/v1/chat/completions", content=ASKED, headers=KNOWN_LENGTH)
        ids |= {(row["trace_id"], row["span_id"]) for row in capture.rows() if row["call_id"]}
    assert len({trace for trace, _ in ids}) == len({span for _, span in ids}) == 2
