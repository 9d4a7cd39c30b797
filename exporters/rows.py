"""Span to row: a pure function, no I/O. One bad attribute costs that attribute, never the row.

Also what keeps foreign spans (plain HTTP spans) clean: credentials in a URL attribute are removed here.
"""

from __future__ import annotations

from datetime import UTC, datetime
from decimal import Decimal, InvalidOperation
from typing import TYPE_CHECKING, Any, Final, cast

import orjson
from opentelemetry.trace import format_span_id, format_trace_id

from ..instrument import attributes as keys
from ..instrument.exchange import REDACTED, clean_url, is_secret_name
from ..instrument.spans import as_json
from .schema import SCHEMA_VERSION

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from opentelemetry.sdk.trace import ReadableSpan

_INT64: Final = 1 << 63
_MONEY_QUANTUM: Final = Decimal("1e-10")
_TEXT: Final = {
    "call_id": keys.CALL_ID,
    "provider": keys.PROVIDER,
    "surface": keys.SURFACE,
    "operation": keys.OPERATION_NAME,
    "request_model": keys.REQUEST_MODEL,
    "response_model": keys.RESPONSE_MODEL,
    "server_address": keys.SERVER_ADDRESS,
    "error_type": keys.ERROR_TYPE,
    "service_tier": keys.SERVICE_TIER,
    "response_id": keys.RESPONSE_ID,
    "previous_response_id": keys.PREVIOUS_RESPONSE_ID,
    "request_id": keys.REQUEST_ID,
    "conversation_id": keys.CONVERSATION_ID,
    "conversation_source": keys.CONVERSATION_SOURCE,
    "session_id": keys.SESSION_ID,
    "managed_strategy": keys.STRATEGY,
    "strategy_reason": keys.STRATEGY_REASON,
    "digest_key": keys.DIGEST_KEY,
    "request_digest": keys.REQUEST_DIGEST,
    "system_digest": keys.SYSTEM_DIGEST,
    "first_message_digest": keys.FIRST_MESSAGE_DIGEST,
    "parent_call_id": keys.PARENT_CALL_ID,
    "provider_conversation_id": keys.PROVIDER_CONVERSATION_ID,
    "user_id": keys.USER_ID,
    "observation": keys.OBSERVATION,
    "raw_usage": keys.RAW_USAGE,
    "raw_metadata": keys.RAW_METADATA,
    "content": keys.CONTENT,
    "source": keys.SOURCE,
}
_COUNT: Final = {
    "attempt_index": keys.ATTEMPT_INDEX,
    "status_code": keys.STATUS_CODE,
    "input_tokens": keys.INPUT_TOKENS,
    "output_tokens": keys.OUTPUT_TOKENS,
    "cache_read_tokens": keys.CACHE_READ_TOKENS,
    "cache_write_tokens": keys.CACHE_WRITE_TOKENS,
    "reasoning_tokens": keys.REASONING_TOKENS,
    "message_count": keys.MESSAGE_COUNT,
    "parent_candidates": keys.PARENT_CANDIDATES,
}
_BOOL: Final = {
    "is_stream": keys.IS_STREAM,
    "continues_turn": keys.CONTINUES_TURN,
    "asks_tools": keys.ASKS_TOOLS,
    "marks_cache": keys.MARKS_CACHE,
}
_LIST: Final = {
    "finish_reasons": keys.FINISH_REASONS,
    "usage_problems": keys.USAGE_PROBLEMS,
    "prefix_digests": keys.PREFIX_DIGESTS,
    "answer_digests": keys.ANSWER_DIGESTS,
}
_SIZES: Final = {"message_sizes": keys.MESSAGE_SIZES}
_MAP: Final = {"tags": keys.TAGS, "identifiers": keys.IDENTIFIERS}
_COUNT_MAP: Final = {"cache_write_by_ttl": keys.CACHE_WRITE_BY_TTL, "usage_details": keys.USAGE_DETAILS}
_OTHER: Final = frozenset(
    {keys.FIRST_CHUNK_MS, keys.BILLED_COST_USD, keys.CACHE_WRITE_TOKENS_ALIAS, keys.PROVIDER_NAME, keys.TIME_UNKNOWN}
)
_KNOWN: Final = _OTHER.union(*(columns.values() for columns in (_TEXT, _COUNT, _BOOL, _LIST, _SIZES, _MAP, _COUNT_MAP)))
_URL_KEYS: Final = frozenset({"url.full", "http.url", "url.query", "http.target"})

Row = dict[str, Any]


def span_row(span: ReadableSpan) -> Row:
    """Return the row of an ended span, with every column of the schema."""
    attributes: Mapping[str, Any] = span.attributes or {}
    row: Row = _frame(span, attributes)
    for columns, convert in _CONVERSIONS:
        for column, key in columns.items():
            row[column] = _converted(attributes.get(key), convert)
    if row["cache_write_tokens"] is None:
        row["cache_write_tokens"] = _converted(attributes.get(keys.CACHE_WRITE_TOKENS_ALIAS), _as_count)
    row["first_chunk_ms"] = _converted(attributes.get(keys.FIRST_CHUNK_MS), float)
    row["billed_cost_usd"] = _converted(attributes.get(keys.BILLED_COST_USD), _as_money)
    row["attributes"] = _rest(attributes)
    return row


def _frame(span: ReadableSpan, attributes: Mapping[str, Any]) -> Row:
    context, parent = span.get_span_context(), span.parent
    known = not attributes.get(keys.TIME_UNKNOWN)
    start, end = (span.start_time, span.end_time) if known else (None, None)
    scope = span.instrumentation_scope
    return {
        "schema_version": SCHEMA_VERSION,
        "span_id": format_span_id(context.span_id if context else 0),
        "trace_id": format_trace_id(context.trace_id if context else 0),
        "parent_span_id": format_span_id(parent.span_id) if parent else None,
        "name": span.name,
        "kind": span.kind.name,
        "scope": scope.name if scope else None,
        "service_name": _converted(span.resource.attributes.get(keys.SERVICE_NAME), str),
        "started_at": _time(start),
        "ended_at": _time(end),
        "duration_ms": (end - start) / 1e6 if start is not None and end is not None else None,
        "span_status": span.status.status_code.name,
    }


def _time(unix_ns: int | None) -> datetime | None:
    if unix_ns is None:
        return None
    seconds, rest = divmod(unix_ns, 10**9)
    try:
        return datetime.fromtimestamp(seconds, UTC).replace(microsecond=rest // 1000)
    except (OverflowError, ValueError, OSError):  # no moment of this calendar
        return None


def _converted(value: Any, convert: Callable[[Any], Any]) -> Any:
    """Return the converted value; None where there is none or it is of another kind than its column."""
    if value is None:
        return None
    try:
        return convert(value)
    except (AttributeError, TypeError, ValueError, ArithmeticError):
        return None


def _as_text(value: Any) -> str:
    # Surrogates off the wire cannot be stored as UTF-8: they become a question mark, the rest stays.
    return str(value).encode("utf-8", "replace").decode("utf-8")


def _as_count(value: Any) -> int | None:
    count = int(value)
    return count if -_INT64 <= count < _INT64 else None


def _as_money(value: Any) -> Decimal:
    amount = Decimal(str(value)).quantize(_MONEY_QUANTUM)
    if not amount.is_finite():
        raise InvalidOperation
    return amount


def _as_list(value: Any) -> list[str]:
    return [_as_text(value)] if isinstance(value, str) else [_as_text(item) for item in value]


def _as_sizes(value: Any) -> list[dict[str, Any]]:
    items: list[dict[str, Any]] = orjson.loads(value)
    counts = ("messages", "size", "media")
    return [
        {**{name: _as_count(item[name]) for name in counts}, "role": _as_text(item["role"]), "digest": item["digest"]}
        for item in items
    ]


def _as_map(value: Any) -> list[tuple[str, Any]]:
    found: dict[str, Any] = orjson.loads(value)
    return [
        (key, [_as_text(one) for one in cast("list[Any]", item)] if isinstance(item, list) else _as_text(item))
        for key, item in found.items()
    ]


def _as_count_map(value: Any) -> list[tuple[str, int]]:
    found: dict[str, Any] = orjson.loads(value)
    pairs = [(key, _as_count(item)) for key, item in found.items()]
    return [(key, count) for key, count in pairs if count is not None]


def _rest(attributes: Mapping[str, Any]) -> str | None:
    """Return the attributes without a column of their own as JSON, none that can hold a credential."""
    rest = {
        key: _clean(value) if key in _URL_KEYS and isinstance(value, str) else value
        for key, value in attributes.items()
        if key not in _KNOWN and not is_secret_name(key.rpartition(".")[2])
    }
    return as_json(rest) if rest else None


def _clean(url: str) -> str:
    try:
        return clean_url(url)
    except ValueError:  # not a URL: what it holds cannot be told
        return REDACTED


_CONVERSIONS: Final[tuple[tuple[Mapping[str, str], Callable[[Any], Any]], ...]] = (
    (_TEXT, _as_text),
    (_COUNT, _as_count),
    (_BOOL, bool),
    (_LIST, _as_list),
    (_SIZES, _as_sizes),
    (_MAP, _as_map),
    (_COUNT_MAP, _as_count_map),
)
