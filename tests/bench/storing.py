"""What it takes to store a span: from the exporter into the spool, and from there into Parquet."""

from __future__ import annotations

import random
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import orjson
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.trace import SpanContext, SpanKind
from turnledger.exporters.parquet import ParquetSpanExporter
from turnledger.instrument import attributes as keys

if TYPE_CHECKING:
    from collections.abc import Callable

ATTRIBUTES = 60
METADATA_BYTES = 1400
BATCH = 512
_RESOURCE = Resource({keys.SERVICE_NAME: "bench"})
_START_NS = 1_795_435_200 * 10**9


def made_spans(count: int) -> list[ReadableSpan]:
    """Return spans of 60 attributes and 1.4 KB of raw metadata each, ids and counts as different as real ones."""
    chance = random.Random(7)  # the same every time
    return [_span(number, chance) for number in range(count)]


def _span(number: int, chance: random.Random) -> ReadableSpan:
    start = _START_NS + number * 10**6
    return ReadableSpan(
        name="chat gpt-4.1",
        context=SpanContext(chance.getrandbits(128) | 1, chance.getrandbits(64) | 1, is_remote=False),
        attributes=_attributes(number, chance),
        resource=_RESOURCE,
        kind=SpanKind.CLIENT,
        start_time=start,
        end_time=start + chance.randrange(10**8, 10**10),
    )


def _attributes(number: int, chance: random.Random) -> dict[str, Any]:
    response_id, request_id = f"chatcmpl-{chance.getrandbits(116):029x}", f"req_{chance.getrandbits(128):032x}"
    sent, answered = chance.randrange(100, 20_000), chance.randrange(10, 900)
    usage = {"prompt_tokens": sent, "completion_tokens": answered, "total_tokens": sent + answered}
    sizes = [
        {"role": role, "messages": 1, "size": chance.randrange(20, 4000), "media": 0, "digest": _digest(chance)}
        for role in ("user", "assistant")
    ]
    found: dict[str, Any] = {
        keys.CALL_ID: f"{chance.getrandbits(64):016x}",
        keys.ATTEMPT_INDEX: 0,
        keys.PROVIDER: "openai",
        keys.PROVIDER_NAME: "openai",
        keys.SURFACE: "chat.completions",
        keys.OPERATION_NAME: "chat",
        keys.REQUEST_MODEL: "gpt-4.1",
        keys.RESPONSE_MODEL: "gpt-4.1-2025-04-14",
        keys.SERVER_ADDRESS: "api.openai.com",
        keys.STATUS_CODE: 200,
        keys.IS_STREAM: number % 3 == 0,
        keys.FIRST_CHUNK_MS: chance.random() * 900,
        keys.FINISH_REASONS: ("stop",),
        keys.SERVICE_TIER: "default",
        keys.RESPONSE_ID: response_id,
        keys.REQUEST_ID: request_id,
        keys.CONVERSATION_ID: f"support-{number // 8}",
        keys.CONVERSATION_SOURCE: "app",
        keys.USER_ID: f"user-{number // 8 % 500}",
        keys.OBSERVATION: "shop.answers.answer",
        keys.TAGS: '{"team":"support"}',
        keys.IDENTIFIERS: orjson.dumps({"response_id": [response_id], "request_id": [request_id]}).decode(),
        keys.INPUT_TOKENS: sent,
        keys.OUTPUT_TOKENS: answered,
        keys.CACHE_READ_TOKENS: sent // 2,
        keys.REASONING_TOKENS: 0,
        keys.USAGE_DETAILS: '{"input_audio_tokens":0}',
        keys.MESSAGE_COUNT: 1 + number % 8,
        keys.CONTINUES_TURN: False,
        keys.RAW_USAGE: orjson.dumps(usage).decode(),
        keys.RAW_METADATA: _metadata(response_id, request_id, usage, chance),
        keys.DIGEST_KEY: "9f3a5c77",
        keys.REQUEST_DIGEST: _digest(chance),
        keys.PREFIX_DIGESTS: (_digest(chance), _digest(chance)),
        keys.ANSWER_DIGESTS: (_digest(chance),),
        keys.SYSTEM_DIGEST: "5b1f0c2a9d8e7f6a5b4c3d2e",
        keys.FIRST_MESSAGE_DIGEST: _digest(chance),
        keys.MESSAGE_SIZES: orjson.dumps(sizes).decode(),
        keys.MARKS_CACHE: False,
        keys.ASKS_TOOLS: False,
    }
    more = ATTRIBUTES - len(found)
    return found | {f"app.field_{place}": f"value {place}" for place in range(more)}


def _digest(chance: random.Random) -> str:
    return f"{chance.getrandbits(96):024x}"


def _metadata(response_id: str, request_id: str, usage: dict[str, int], chance: random.Random) -> str:
    record: dict[str, Any] = {
        "request": {"model": "gpt-4.1", "temperature": 0.2, "messages": [{"role": "user", "content": "<312 chars>"}]},
        "response": {"id": response_id, "object": "chat.completion", "created": 1795435200, "usage": usage},
        "headers": {
            "x-request-id": request_id,
            "x-ratelimit-remaining-tokens": str(chance.randrange(10**6)),
            "openai-processing-ms": str(chance.randrange(9000)),
            "cf-ray": f"{chance.getrandbits(64):016x}-FRA",
            "date": f"Mon, 23 Nov 2026 {chance.randrange(24):02}:{chance.randrange(60):02}:00 GMT",
        },
    }
    missing = METADATA_BYTES - len(orjson.dumps(record)) - len(',"more":{}')
    more: dict[str, str] = {}
    while (left := missing - len(orjson.dumps(more))) > len('"field_00":"",'):
        more[f"field_{len(more):02}"] = "x" * min(60, left - len('"field_00":"",'))
    return orjson.dumps({**record, "more": more}).decode()


def storing(spans: int) -> dict[str, float]:
    """Return what a span costs, in processor time of all threads, and how large it is in Parquet.

    Spans are made just before they are exported, as an application's have just ended; what that takes is left out.
    """
    making = _processor_s(spans, lambda _: None)
    with tempfile.TemporaryDirectory() as folder:
        exporter = ParquetSpanExporter(folder)
        clock = time.perf_counter()
        spooled = _processor_s(spans, exporter.export, lambda: exporter.force_flush(60_000)) - making
        begun = time.process_time()
        exporter.shutdown()
        spent, wall = spooled + time.process_time() - begun, time.perf_counter() - clock - making
        size = sum(path.stat().st_size for path in Path(folder).rglob("*.parquet"))
    return {
        "spans": spans,
        "spans_per_s_and_core": round(spans / spent),
        "spans_per_s": round(spans / wall),
        "cpu_us_per_span": round(spent / spans * 1e6, 1),
        "cpu_us_per_span_until_spooled": round(spooled / spans * 1e6, 1),
        "bytes_per_span": round(size / spans, 1),
    }


def _processor_s(
    spans: int, take: Callable[[list[ReadableSpan]], object], end: Callable[[], object] = lambda: None
) -> float:
    """Return the processor time that making spans and handing them on in batches takes."""
    chance = random.Random(7)  # the same every time
    begun = time.process_time()
    for start in range(0, spans, BATCH):
        take([_span(number, chance) for number in range(start, min(start + BATCH, spans))])
    end()
    return time.process_time() - begun


def durable(effort_spans: int) -> dict[str, float]:
    """Return how long the export of one span takes, in microseconds, by how durable it is to be (medians)."""
    made = made_spans(effort_spans)
    found: dict[str, float] = {}
    for durability in ("batch", "span", "disk"):
        with tempfile.TemporaryDirectory() as folder:
            exporter = ParquetSpanExporter(folder, durability=durability)
            times: list[float] = []
            for span in made:
                begun = time.perf_counter()
                exporter.export([span])
                times.append(time.perf_counter() - begun)
            exporter.shutdown()
        found[f"{durability}_us"] = round(sorted(times)[len(times) // 2] * 1e6, 1)
    return found
