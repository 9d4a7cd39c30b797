"""Every surface of every document, over real HTTP: plain, async, streamed, failed, broken off, tried again.

What a document says is served by a real server and captured live. One that is added is tested without a word here.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import httpx
import httpx2
import orjson
import pytest
from made_answers import ERROR_TYPE, Made, made, streams
from made_exchanges import REGISTRY
from stub_server import Reply, sse_reply

if TYPE_CHECKING:
    from conftest import Recorder
    from stub_server import StubServer
    from turnledger.instrument.surfaces import Surface

SURFACES = [surface for document in REGISTRY.documents.values() for surface in document.surfaces]
COUNTS = ("input_tokens", "output_tokens", "cache_read_tokens", "cache_write_tokens", "reasoning_tokens")

each_surface = pytest.mark.parametrize("surface", SURFACES, ids=lambda item: f"{item.provider}/{item.name}")
each_stream = pytest.mark.parametrize(
    "surface", [item for item in SURFACES if streams(item)], ids=lambda item: f"{item.provider}/{item.name}"
)


@pytest.fixture
def on(capture: Recorder, stub: StubServer) -> Any:
    """Switch capture on, the stub being a host of a provider."""

    def switch(surface: Surface) -> tuple[Made, str]:
        capture.hosts = {stub.host: surface.provider}
        capture.on()
        sample = made(surface)
        return sample, stub.url + sample.path

    return switch


def reply(sample: Made, document: Any, status: int = 200, **headers: str) -> Reply:
    """Return an answer in one piece, with the headers that the document names."""
    return Reply(orjson.dumps(document), status, {"content-type": "application/json", **sample.headers, **headers})


def send(sample: Made, url: str) -> bytes:
    """Send the request with a plain client, and return what it read."""
    return httpx.request(sample.method, url, content=sample.content, headers=sample.request_headers).content


def assert_all_read(row: dict[str, Any], sample: Made) -> None:
    """Assert that every identifier and figure of the sample is in the row."""
    surface = sample.surface
    assert (row["provider"], row["surface"], row["operation"]) == (surface.provider, surface.name, surface.operation)
    named = dict(row["identifiers"] or ())
    assert {name: value for name, value in sample.identifiers.items() if value not in named.get(name, ())} == {}
    if not surface.is_billed:
        assert [row[name] for name in COUNTS] == [None] * len(COUNTS)
        return
    assert {name: row[name] for name in sample.counts} == sample.counts
    assert dict(row["cache_write_by_ttl"] or ()) == sample.by_ttl
    assert {name: dict(row["usage_details"] or ()).get(name) for name in sample.details} == sample.details
    assert row["billed_cost_usd"] == sample.billed_cost
    assert row["error_type"] is None


@each_surface
def test_the_sample_has_what_the_document_names(surface: Surface):
    sample = made(surface)
    unsent = {
        name
        for name, locations in surface.identifiers.items()
        if sample.request is None and all(location.source == "request.body" for location in locations)
    }
    assert surface.identifiers.keys() - sample.identifiers.keys() == unsent
    if surface.usage.at:
        assert sample.counts.keys() == surface.usage.counts.keys()
        assert sample.details.keys() == surface.usage.details.keys()


@each_surface
def test_plain(surface: Surface, on: Any, capture: Recorder, stub: StubServer):
    sample, url = on(surface)
    stub.script(reply(sample, sample.plain))
    assert orjson.loads(send(sample, url)) == sample.plain
    row = capture.row()
    assert_all_read(row, sample)
    assert (row["status_code"], row["is_stream"]) == (200, surface.stream.always)


@each_surface
def test_async(surface: Surface, on: Any, capture: Recorder, stub: StubServer):
    sample, url = on(surface)
    stub.script(reply(sample, sample.plain))

    async def call() -> bytes:
        async with httpx2.AsyncClient() as client:
            answer = await client.request(sample.method, url, content=sample.content, headers=sample.request_headers)
            return answer.content

    assert orjson.loads(asyncio.run(call())) == sample.plain
    assert_all_read(capture.row(), sample)


@each_stream
def test_stream(surface: Surface, on: Any, capture: Recorder, stub: StubServer):
    sample, url = on(surface)
    stub.script(sse_reply(sample.events, **sample.headers))
    with httpx.stream(sample.method, url, content=sample.content, headers=sample.request_headers) as answer:
        assert b"".join(answer.iter_bytes()) == b"".join(sample.events)
    row = capture.row()
    assert_all_read(row, sample)
    assert row["is_stream"] is True
    assert row["first_chunk_ms"] is not None


@each_stream
def test_stream_that_the_application_leaves(surface: Surface, on: Any, capture: Recorder, stub: StubServer):
    sample, url = on(surface)
    stub.script(sse_reply(sample.events, chunk_delay_s=60, **sample.headers))
    with httpx.stream(sample.method, url, content=sample.content, headers=sample.request_headers) as answer:
        assert next(answer.iter_bytes()) == sample.events[0]
    row = capture.row()
    named = dict(row["identifiers"] or ())
    assert {name: value for name, value in sample.identifiers.items() if value not in named.get(name, ())} == {}
    assert row["error_type"] == "stream_closed_early"


@each_surface
def test_error(surface: Surface, on: Any, capture: Recorder, stub: StubServer):
    sample, url = on(surface)
    stub.script(reply(sample, sample.error, 400))
    assert orjson.loads(send(sample, url)) == sample.error
    row = capture.row()
    assert (row["surface"], row["status_code"]) == (surface.name, 400)
    assert row["error_type"] == (ERROR_TYPE if sample.error else "400")
    assert [row[name] for name in COUNTS] == [None] * len(COUNTS)


@each_surface
def test_retry(surface: Surface, on: Any, capture: Recorder, stub: StubServer):
    sample, url = on(surface)
    stub.script(reply(sample, sample.error, 429, retry_after="0"), reply(sample, sample.plain))
    with httpx.Client() as client:
        for _ in range(2):
            client.request(sample.method, url, content=sample.content, headers=sample.request_headers)
    first, second = capture.rows()
    assert [row["attempt_index"] for row in (first, second)] == [0, 1]
    assert first["call_id"] == second["call_id"]
    assert [row["status_code"] for row in (first, second)] == [429, 200]
    assert_all_read(second, sample)
