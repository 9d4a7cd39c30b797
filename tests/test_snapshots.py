"""Whole rows, every column: one plain and one streamed call through a real client, with a fixed clock and fixed ids."""

from __future__ import annotations

import importlib
import itertools
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import orjson
import pytest
import turnledger
from sdk_bodies import CHAT, CHAT_STREAM
from stub_server import json_reply, sse_reply
from turnledger.exporters.schema import SCHEMA_VERSION, SPAN_SCHEMA
from turnledger.instrument.digests import DigestKey

if TYPE_CHECKING:
    from collections.abc import Mapping

    from conftest import Recorder
    from stub_server import StubServer

NOON = datetime(2026, 11, 23, 12, tzinfo=UTC)
ASKED = {
    "model": "gpt-5-mini",
    "messages": [
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": "Say hello."},
    ],
    "user": "user-77",
    "prompt_cache_key": "support",
}
HEADERS = {
    "accept": "*/*",
    "accept-encoding": "identity",
    "authorization": "Bearer test-key",
    "connection": "keep-alive",
    "user-agent": "snapshot/1",
    "x-stainless-retry-count": "0",
}


@pytest.fixture
def fixed(monkeypatch: pytest.MonkeyPatch) -> None:
    """Begin at noon, let every look at the clock take a millisecond, and count ids from 1."""
    ticks, ids = itertools.count(10**9, 10**6), itertools.count(1)
    start_ns = int(NOON.timestamp()) * 10**9
    clock = SimpleNamespace(time_ns=lambda: start_ns, perf_counter_ns=lambda: next(ticks))
    monkeypatch.setattr(importlib.import_module("turnledger.instrument.capture"), "time", clock)
    generator = importlib.import_module("turnledger.instrument.recording").IDS
    for name in ("generate_span_id", "generate_trace_id"):
        monkeypatch.setattr(generator, name, lambda: next(ids))
    monkeypatch.setenv("OTEL_SERVICE_NAME", "shop")
    key = DigestKey.of(b"k" * 32)
    monkeypatch.setattr(importlib.import_module("turnledger.instrument.threads"), "_own_key", lambda: key)


def ask(stub: StubServer, body: Mapping[str, Any]) -> None:
    library = importlib.import_module("httpx2")
    with (
        turnledger.conversation("chat-1", user="u1", tags={"team": "support"}),
        library.Client(headers=HEADERS) as client,
        client.stream("POST", f"{stub.url}/v1/chat/completions", json=body) as response,
    ):
        response.read()


def snapshot(row: dict[str, Any], stub: StubServer) -> dict[str, Any]:
    """Return every column of a row, JSON as documents, the server's port as a word."""
    assert list(row) != []
    assert set(row) == set(SPAN_SCHEMA.names)
    found = {**row, "raw_metadata": row["raw_metadata"].replace(stub.host, "stub")}
    return {
        name: orjson.loads(value) if name.startswith("raw_") else dict(value) if name in _MAPS and value else value
        for name, value in found.items()
    }


_MAPS = ("tags", "identifiers", "cache_write_by_ttl", "usage_details")

SAID = {
    "conversation_id": "chat-1",
    "conversation_source": "app",
    "user_id": "u1",
    "tags": {"team": "support"},
    "observation": None,
}
USAGE = {
    "input_tokens": 19,
    "output_tokens": 10,
    "cache_read_tokens": 8,
    "cache_write_tokens": None,
    "cache_write_by_ttl": None,
    "reasoning_tokens": 4,
    "usage_details": {
        "input_audio_tokens": 0,
        "output_audio_tokens": 0,
        "total_tokens": 29,
    },
    "usage_problems": None,
    "billed_cost_usd": None,
    "raw_usage": CHAT["usage"],
}
THREAD: dict[str, Any] = {
    "digest_key": "8ccdf93c",
    "request_digest": "c06f446632141ce13e41183f",
    "prefix_digests": None,
    "answer_digests": ["39f51052e5aa3047d09d84c7"],
    "system_digest": "216a880546da551f9ea32f11",
    "first_message_digest": "74016af5b7a29309",
    "message_sizes": [
        {"role": "system", "messages": 1, "size": 9, "media": 0, "digest": None},
        {"role": "user", "messages": 1, "size": 10, "media": 0, "digest": "74016af5b7a29309"},
        {"role": "assistant", "messages": 1, "size": 26, "media": 0, "digest": "86ed206c75c52fd5"},
    ],
    "asks_tools": False,
    "marks_cache": False,
    "parent_call_id": None,
    "parent_candidates": None,
    "provider_conversation_id": None,
    "session_id": None,
    "managed_strategy": None,
    "strategy_reason": None,
}
CALL: dict[str, Any] = {
    "schema_version": SCHEMA_VERSION,
    "span_id": "0000000000000001",
    "trace_id": "00000000000000000000000000000002",
    "parent_span_id": None,
    "name": "chat gpt-5-mini",
    "kind": "CLIENT",
    "scope": "turnledger",
    "service_name": "shop",
    "started_at": NOON,
    "span_status": "UNSET",
    "source": None,
    "call_id": "0000000000000001",
    "attempt_index": 0,
    "provider": "openai",
    "surface": "chat.completions",
    "operation": "chat",
    "request_model": "gpt-5-mini",
    "response_model": "gpt-5-mini-2025-08-07",
    "server_address": "127.0.0.1",
    "status_code": 200,
    "error_type": None,
    "finish_reasons": ["stop"],
    "response_id": "chatcmpl-7QmTest01",
    "previous_response_id": None,
    "request_id": "req_test01",
    "identifiers": {
        "response_id": ["chatcmpl-7QmTest01"],
        "request_id": ["req_test01"],
        "system_fingerprint": ["fp_44709d6fcb"],
        "prompt_cache_key": ["support"],
        "user_id": ["user-77"],
    },
    "message_count": 2,
    "continues_turn": False,
    "content": None,
    "attributes": None,
    "billing": None,
    **SAID,
    **USAGE,
    **THREAD,
}
REQUEST = {
    "model": "gpt-5-mini",
    "messages": [{"role": "system", "content": "<9 chars>"}, {"role": "user", "content": "<10 chars>"}],
    "user": "user-77",
    "prompt_cache_key": "support",
}


def raw(request: dict[str, Any], response: Any, length: int, headers: dict[str, str]) -> dict[str, Any]:
    sent = {name: value for name, value in HEADERS.items() if name not in ("authorization", "connection")}
    return {
        "method": "POST",
        "url": "http://stub/v1/chat/completions",
        "status_code": 200,
        "request": request,
        "request_headers": {
            "host": "stub",
            **sent,
            "content-length": str(length),
            "content-type": "application/json",
        },
        "response": response,
        "response_headers": {"x-request-id": "req_test01", **headers},
    }


def test_a_plain_call(stub: StubServer, capture: Recorder, fixed: None):
    capture.on()
    stub.script(json_reply(CHAT, x_request_id="req_test01"))
    ask(stub, ASKED)
    choice = {**CHAT["choices"][0], "message": {"role": "assistant", "content": "<24 chars>", "refusal": None}}
    assert snapshot(capture.row(), stub) == {
        **CALL,
        "ended_at": NOON + timedelta(milliseconds=2),
        "duration_ms": 2.0,
        "is_stream": False,
        "first_chunk_ms": None,
        "service_tier": "default",
        "raw_metadata": raw(
            REQUEST,
            {**CHAT, "choices": [choice]},
            len(orjson.dumps(ASKED)),
            {"content-type": "application/json", "content-length": str(len(orjson.dumps(CHAT)))},
        ),
    }


def chunk(count: int, delta: dict[str, Any], finish: str | None = None) -> dict[str, Any]:
    head = {name: CHAT[name] for name in ("id", "created", "model", "system_fingerprint")}
    choice = {"index": 0, "delta": delta, "finish_reason": finish, "logprobs": None}
    data = {**head, "object": "chat.completion.chunk", "choices": [choice], "usage": None}
    return {"count": count, "data": data}


def test_a_streamed_call(stub: StubServer, capture: Recorder, fixed: None):
    capture.on()
    stub.script(sse_reply(CHAT_STREAM, x_request_id="req_test01"))
    asked = {**ASKED, "stream": True}
    ask(stub, asked)
    last = {**chunk(1, {})["data"], "choices": [], "usage": CHAT["usage"]}
    shapes = [
        chunk(1, {"role": "assistant", "content": ""}),
        chunk(2, {"content": "<11 chars>"}),
        chunk(1, {}, "stop"),
        {"count": 1, "data": last},
    ]
    assert snapshot(capture.row(), stub) == {
        **CALL,
        "ended_at": NOON + timedelta(milliseconds=2),
        "duration_ms": 2.0,
        "is_stream": True,
        "first_chunk_ms": 1.0,
        "service_tier": None,
        "raw_metadata": raw(
            {**REQUEST, "stream": True},
            {"events": 5, "shapes": shapes, "last": last, "ended": True},
            len(orjson.dumps(asked)),
            {"content-type": "text/event-stream", "transfer-encoding": "chunked"},
        ),
    }
