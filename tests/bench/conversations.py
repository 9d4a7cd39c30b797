"""What a call costs by the length of its conversation: bytes in the store, and time on the worker."""

from __future__ import annotations

import random
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import orjson
from turnledger.exporters.rows import span_row
from turnledger.exporters.store import Store
from turnledger.exporters.writing import SpanWriter
from turnledger.instrument import attributes as keys
from turnledger.instrument.digests import DigestKey
from turnledger.instrument.documents import load_documents
from turnledger.instrument.exchange import Exchange
from turnledger.instrument.facts import extract
from turnledger.instrument.recording import IDS, Frame, describe, ended_span

if TYPE_CHECKING:
    from collections.abc import Iterator

SHORT, LONG = 5, 500
_KEY = DigestKey.of(b"b" * 32)
_WORDS = ("red", "green", "house", "river", "seven", "because", "tomorrow", "walks", "quietly", "an", "of", "the")


def _text(rng: random.Random, words: int) -> str:
    return " ".join(rng.choices(_WORDS, k=words))


def exchanges(turns: int, calls: int) -> Iterator[Exchange]:
    """Yield calls of conversations of so many turns: new texts, ids and times each, all before sent again."""
    rng = random.Random(turns)
    messages: list[Any] = []
    for number in range(calls):
        if number % turns == 0:
            messages = [{"role": "system", "content": "You answer briefly and in plain words."}]
        messages.append({"role": "user", "content": _text(rng, 12)})
        answer = _text(rng, 40)
        body = {
            "id": f"chatcmpl-{rng.getrandbits(128):032x}",
            "model": "gpt-4o-2024-08-06",
            "system_fingerprint": "fp_44709d6fcb",
            "choices": [{"index": 0, "message": {"role": "assistant", "content": answer}, "finish_reason": "stop"}],
            "usage": {"prompt_tokens": 20 + 60 * (len(messages) // 2), "completion_tokens": 44},
        }
        started = 1_795_435_200_000_000_000 + rng.randrange(10**13)
        yield Exchange.build(
            method="POST",
            url="https://api.openai.com/v1/chat/completions",
            request_headers=[("user-agent", "bench"), ("x-stainless-retry-count", "0")],
            request_body=orjson.dumps({"model": "gpt-4o", "messages": messages}),
            status_code=200,
            response_headers=[("x-request-id", f"req_{rng.getrandbits(128):032x}")],
            response_body=orjson.dumps(body),
            started_ns=started,
            ended_ns=started + rng.randrange(10**9, 3 * 10**9),
        )
        messages.append({"role": "assistant", "content": answer})


def bytes_and_us(turns: int, calls: int) -> tuple[float, float]:
    """Return bytes in a store and microseconds of reading, a call, of conversations of so many turns."""
    registry, parent = load_documents(), Frame(1, {}, 0, 0).parent
    spent = 0.0
    with tempfile.TemporaryDirectory() as folder:
        writer = SpanWriter(Store.at(folder))
        for exchange in exchanges(turns, calls):
            begun = time.perf_counter()
            facts = extract(exchange, registry, _KEY)
            assert facts is not None
            described = describe(facts, None, content=False)
            span_id = IDS.generate_span_id()
            described.attributes[keys.CALL_ID] = format(span_id, "016x")
            frame = Frame(span_id, parent, exchange.started_ns or 0, exchange.ended_ns)
            row = span_row(ended_span(described, frame, _resource()))
            spent += time.perf_counter() - begun
            writer.add({**row, "started_at": row["started_at"].replace(day=23)})
        writer.close()
        size = sum(path.stat().st_size for path in Path(folder).rglob("*.parquet"))
    return size / calls, spent / calls * 1e6


def _resource() -> Any:
    from opentelemetry.sdk.resources import Resource  # noqa: PLC0415

    return Resource({})


def short_and_long(calls: int) -> dict[str, float]:
    """Return what a call takes in short and in long conversations, and the ratio."""
    short, long = bytes_and_us(SHORT, calls), bytes_and_us(LONG, calls)
    return {
        f"bytes_per_call_of_{SHORT}_turns": round(short[0], 1),
        f"bytes_per_call_of_{LONG}_turns": round(long[0], 1),
        "bytes_ratio": round(long[0] / short[0], 3),
        f"us_per_call_of_{SHORT}_turns": round(short[1], 1),
        f"us_per_call_of_{LONG}_turns": round(long[1], 1),
    }
