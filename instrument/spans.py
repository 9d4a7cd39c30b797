"""Call facts as span attributes."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, Final

import orjson

from . import attributes as keys
from . import health
from .context import Conversation
from .wire import decode_request

if TYPE_CHECKING:
    from collections.abc import Mapping

    from opentelemetry.util.types import AttributeValue

    from .digests import Thread
    from .facts import CallFacts

MAX_METADATA: Final = 2 << 20


def as_json(value: Any) -> str:
    """Return JSON text; what JSON has no form for becomes text."""
    try:
        return orjson.dumps(value, default=str).decode()
    except (orjson.JSONEncodeError, RecursionError):
        pass
    try:
        # Numbers beyond 64 bits and lone surrogates, which the fast encoder refuses.
        return json.dumps(value, default=str)
    except (ValueError, TypeError, RecursionError):
        return orjson.dumps({"unreadable": type(value).__name__}).decode()


def _bounded(text: str) -> str:
    """Return raw metadata, or how large it was where only a hostile or broken response makes it that large."""
    if len(text) <= MAX_METADATA:
        return text
    health.count("extract.metadata_left_out")
    return orjson.dumps({"left_out": f"<{len(text)} chars>"}).decode()


def span_name(facts: CallFacts) -> str:
    """Return the name the GenAI convention gives such a span: operation and model."""
    return f"{facts.operation} {facts.request_model or facts.response_model or ''}".strip()


def call_attributes(facts: CallFacts) -> dict[str, AttributeValue]:
    """Return the attributes of a call's span; unknown values have no attribute."""
    usage, exchange = facts.usage, facts.exchange
    found: dict[str, AttributeValue | None] = {
        keys.OPERATION_NAME: facts.operation,
        keys.PROVIDER_NAME: facts.provider_name,
        keys.PROVIDER: facts.provider,
        keys.SURFACE: facts.surface,
        keys.SERVER_ADDRESS: facts.server_address or None,
        keys.REQUEST_MODEL: facts.request_model,
        keys.RESPONSE_MODEL: facts.response_model,
        keys.RESPONSE_ID: facts.response_id,
        keys.PREVIOUS_RESPONSE_ID: facts.previous_response_id,
        keys.REQUEST_ID: facts.request_id,
        keys.FINISH_REASONS: facts.finish_reasons or None,
        keys.SERVICE_TIER: facts.service_tier,
        keys.BILLING: as_json(facts.billing) if facts.billing else None,
        keys.STATUS_CODE: exchange.status_code,
        keys.ERROR_TYPE: facts.error_type,
        keys.IS_STREAM: facts.is_stream,
        keys.FIRST_CHUNK_MS: _first_chunk_ms(facts),
        keys.INPUT_TOKENS: usage.input_tokens,
        keys.OUTPUT_TOKENS: usage.output_tokens,
        keys.CACHE_READ_TOKENS: usage.cache_read_tokens,
        keys.CACHE_WRITE_TOKENS: usage.cache_write_tokens,
        keys.REASONING_TOKENS: usage.reasoning_tokens,
        keys.CACHE_WRITE_BY_TTL: as_json(usage.cache_write_by_ttl) if usage.cache_write_by_ttl else None,
        keys.USAGE_DETAILS: as_json(usage.details) if usage.details else None,
        keys.USAGE_PROBLEMS: usage.problems or None,
        keys.RAW_USAGE: as_json(facts.raw_usage) if facts.raw_usage is not None else None,
        keys.BILLED_COST_USD: None if usage.billed_cost_usd is None else format(usage.billed_cost_usd, "f"),
        keys.MESSAGE_COUNT: facts.message_count,
        keys.CONTINUES_TURN: facts.continues_turn,
        keys.IDENTIFIERS: as_json(facts.identifiers) if facts.identifiers else None,
        keys.RAW_METADATA: _bounded(as_json(facts.raw_metadata)),
    }
    if facts.thread is not None:
        found |= _thread_attributes(facts.thread)
    return {key: value for key, value in found.items() if value is not None}


def _thread_attributes(thread: Thread) -> dict[str, AttributeValue | None]:
    return {
        keys.DIGEST_KEY: thread.key_name,
        keys.REQUEST_DIGEST: thread.request,
        keys.PREFIX_DIGESTS: thread.prefixes or None,
        keys.ANSWER_DIGESTS: thread.answers or None,
        keys.SYSTEM_DIGEST: thread.system,
        keys.MESSAGE_SIZES: as_json([size._asdict() for size in thread.sizes]),
        keys.FIRST_MESSAGE_DIGEST: thread.first,
        keys.ASKS_TOOLS: thread.asks_tools,
        keys.MARKS_CACHE: thread.marks_cache,
    }


def conversation_attributes(facts: CallFacts, said: Conversation | None) -> dict[str, AttributeValue]:
    """Return who the call belongs to: what the application said, else what the provider knows."""
    said = said or Conversation()
    session = said.session or facts.session_id
    conversation = said.id or facts.conversation_id or session
    source = "app" if said.id else "provider" if facts.conversation_id else "sdk_session"
    found: dict[str, AttributeValue | None] = {
        keys.CONVERSATION_ID: conversation,
        keys.CONVERSATION_SOURCE: None if conversation is None else source,
        keys.PROVIDER_CONVERSATION_ID: facts.conversation_id,
        keys.SESSION_ID: session,
        keys.STRATEGY: said.strategy,
        keys.STRATEGY_REASON: said.strategy_reason,
        keys.USER_ID: said.user or facts.user_id,
        keys.TAGS: as_json(said.tags) if said.tags else None,
        keys.OBSERVATION: said.observation,
    }
    return {key: value for key, value in found.items() if value is not None}


def content_attributes(facts: CallFacts) -> dict[str, AttributeValue]:
    """Return request and response as they were, for those who asked for content."""
    exchange = facts.exchange
    content: Mapping[str, Any] = {
        "request": decode_request(exchange.request_body or b""),
        "response": exchange.response_body.decode("utf-8", "replace"),
    }
    return {keys.CONTENT: as_json(content)}


def _first_chunk_ms(facts: CallFacts) -> float | None:
    exchange = facts.exchange
    if exchange.first_chunk_ns is None or exchange.started_ns is None or not facts.is_stream:
        return None
    return (exchange.first_chunk_ns - exchange.started_ns) / 1e6
