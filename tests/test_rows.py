"""From a span to a row: pure, every column there, a bad attribute costs its own column only."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import orjson
import pytest
from made_spans import NOON, row
from opentelemetry.sdk.util.instrumentation import InstrumentationScope
from opentelemetry.trace import SpanContext, Status, StatusCode
from turnledger.exporters.schema import SCHEMA_VERSION, SPAN_SCHEMA
from turnledger.instrument import attributes as keys


def test_a_plain_span_has_every_column():
    parent = SpanContext(1, 0xABC, is_remote=False)
    scope = InstrumentationScope("other.library")
    found = row(parent=parent, instrumentation_scope=scope, status=Status(StatusCode.ERROR))
    assert list(found) != []
    assert set(found) == set(SPAN_SCHEMA.names)
    assert {name: value for name, value in found.items() if value is not None} == {
        "schema_version": SCHEMA_VERSION,
        "span_id": "00f067aa0ba902b7",
        "trace_id": "0af7651916cd43dd8448eb211c80319c",
        "parent_span_id": "0000000000000abc",
        "name": "chat m",
        "kind": "CLIENT",
        "scope": "other.library",
        "service_name": "shop",
        "started_at": NOON,
        "ended_at": NOON.replace(microsecond=373456),
        "duration_ms": 250.0,
        "span_status": "ERROR",
    }


def test_typed_columns():
    found = row(
        {
            keys.INPUT_TOKENS: 2**40,
            keys.IS_STREAM: True,
            keys.FINISH_REASONS: ("stop", "length"),
            keys.TAGS: '{"team":"support"}',
            keys.IDENTIFIERS: '{"response_id":["a","b"]}',
            keys.CACHE_WRITE_BY_TTL: '{"5m":4,"1h":0}',
            keys.BILLED_COST_USD: "0.0123",
            keys.FIRST_CHUNK_MS: 12.5,
            "custom.list": ["x", 1],
        }
    )
    expected = {
        "input_tokens": 2**40,
        "is_stream": True,
        "finish_reasons": ["stop", "length"],
        "tags": [("team", "support")],
        "identifiers": [("response_id", ["a", "b"])],
        "cache_write_by_ttl": [("5m", 4), ("1h", 0)],
        "first_chunk_ms": 12.5,
        "attributes": '{"custom.list":["x",1]}',
    }
    assert {name: found[name] for name in expected} == expected
    assert found["billed_cost_usd"] == Decimal("0.0123")


def test_both_spellings_of_cache_writes_are_read():
    assert row({keys.CACHE_WRITE_TOKENS_ALIAS: 7})["cache_write_tokens"] == 7
    assert row({keys.CACHE_WRITE_TOKENS_ALIAS: 7, keys.CACHE_WRITE_TOKENS: 0})["cache_write_tokens"] == 0


@pytest.mark.parametrize(
    ("key", "value", "column"),
    [
        (keys.INPUT_TOKENS, "many", "input_tokens"),
        (keys.INPUT_TOKENS, 2**63, "input_tokens"),
        (keys.INPUT_TOKENS, float("nan"), "input_tokens"),
        (keys.BILLED_COST_USD, "free", "billed_cost_usd"),
        (keys.BILLED_COST_USD, "NaN", "billed_cost_usd"),
        (keys.TAGS, "not json", "tags"),
        (keys.TAGS, "[1]", "tags"),
        (keys.IDENTIFIERS, "7", "identifiers"),
        (keys.CACHE_WRITE_BY_TTL, '{"5m":"x"}', "cache_write_by_ttl"),
        (keys.FIRST_CHUNK_MS, "soon", "first_chunk_ms"),
        (keys.FINISH_REASONS, 7, "finish_reasons"),
    ],
)
def test_a_bad_attribute_costs_its_column_only(key: str, value: Any, column: str):
    found = row({key: value, keys.RESPONSE_ID: "kept"})
    assert (found[column], found["response_id"], found["started_at"]) == (None, "kept", NOON)


def test_credentials_of_foreign_spans_are_removed():
    found = row(
        {
            "url.full": "https://user:pw@host/path?key=abc&page=2#end",
            "http.url": "http://[broken",
            "http.request.header.authorization": "Bearer x",
            "app.api_key": "sk-1",
            "app.page": 2,
        }
    )
    assert orjson.loads(found["attributes"]) == {
        "url.full": "https://host/path?key=<redacted>&page=2",
        "http.url": "<redacted>",
        "app.page": 2,
    }


def test_odd_values_of_foreign_spans_are_kept():
    found = row({"app.huge": 2**70, "app.text": "\ud800", "app.ok": 1})
    assert orjson.loads(found["attributes"].replace("\\ud800", "?")) == {
        "app.huge": pytest.approx(2**70),
        "app.text": "?",
        "app.ok": 1,
    }


@pytest.mark.parametrize("start_ns", [None, 10**30])
def test_an_unusable_time_is_unknown(start_ns: int | None):
    found = row(start_ns=start_ns)
    assert (found["started_at"], found["ended_at"], found["span_id"]) == (None, None, "00f067aa0ba902b7")


def test_an_imported_time_that_is_unknown():
    found = row({keys.TIME_UNKNOWN: True}, start_ns=0)
    assert (found["started_at"], found["duration_ms"], found["attributes"]) == (None, None, None)
