"""Spans to columns: pure functions, no I/O. One bad attribute costs that attribute, never the row.

Column by column, since that is what takes the least time. Also what keeps foreign spans (plain HTTP spans) clean:
credentials in a URL attribute are removed here.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from decimal import Decimal, InvalidOperation
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Final, cast

import orjson
from opentelemetry.trace import format_span_id, format_trace_id

from ..instrument import attributes as keys
from ..instrument.exchange import REDACTED, clean_url, is_secret_name
from ..instrument.spans import as_json
from .schema import SCHEMA_VERSION

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

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
_MAP: Final = {"tags": keys.TAGS, "identifiers": keys.IDENTIFIERS, "billing": keys.BILLING}
_COUNT_MAP: Final = {"cache_write_by_ttl": keys.CACHE_WRITE_BY_TTL, "usage_details": keys.USAGE_DETAILS}
_DIRECT: Final = {
    **_TEXT,
    **_COUNT,
    **_BOOL,
    **_LIST,
    "first_chunk_ms": keys.FIRST_CHUNK_MS,
    "billed_cost_usd": keys.BILLED_COST_USD,
}
_JSON: Final = {**_SIZES, **_MAP, **_COUNT_MAP}
_ELSEWHERE: Final = {keys.PROVIDER_NAME: None, keys.CACHE_WRITE_TOKENS_ALIAS: "cache_write_tokens"}
"""Attributes that say again what a column has, and the column where it may be only here."""
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_FIRST_US, _LAST_US = (
    (moment - _EPOCH) // timedelta(microseconds=1)
    for moment in (datetime.min.replace(tzinfo=UTC), datetime.max.replace(tzinfo=UTC))
)
_URL_KEYS: Final = frozenset({"url.full", "http.url", "url.query", "http.target"})

Row = dict[str, Any]


Columns = dict[str, list[Any]]


def span_columns(spans: Sequence[ReadableSpan]) -> Columns:
    """Return the values of every column of the schema for ended spans, in their order, mostly as they came.

    Nearly all are of their column's kind already; ``converted`` makes one so that is not.
    """
    attributes = [_own(span.attributes) for span in spans]  # what has a column is taken out
    columns = _frame(spans, attributes)
    for column, key in _DIRECT.items():
        columns[column] = [found.pop(key, None) for found in attributes]
    for column, key in _JSON.items():
        values = [found.pop(key, None) for found in attributes]
        columns[column] = [value if value is None else _loaded(value) for value in values]
    for key in _ELSEWHERE:
        values = [found.pop(key, None) for found in attributes]
        if (column := _ELSEWHERE[key]) is not None:
            pairs = zip(columns[column], values, strict=True)
            columns[column] = [value if said is None else said for said, value in pairs]
    columns["billed_cost_usd"] = [converted("billed_cost_usd", value) for value in columns["billed_cost_usd"]]
    columns["attributes"] = [_rest(found) for found in attributes]
    return columns


def _own(attributes: Any) -> dict[str, Any]:
    copy = getattr(attributes, "copy", None)  # of a mapping that is no dict, this takes a fifth of the time
    found: Any = copy() if copy is not None else attributes or {}
    return cast("dict[str, Any]", found) if isinstance(found, dict) else dict(found)


def converted(column: str, value: Any) -> Any:
    """Return a value of a column as one of its kind; None where there is none, or it is of another kind."""
    if value is None:
        return None
    try:
        return _CONVERSIONS.get(column, _as_text)(value)
    except (AttributeError, KeyError, TypeError, ValueError, ArithmeticError, OSError):
        return None


def span_row(span: ReadableSpan) -> Row:
    """Return the row of an ended span, with every column of the schema."""
    return {name: converted(name, values[0]) for name, values in span_columns((span,)).items()}


def _frame(spans: Sequence[ReadableSpan], attributes: Sequence[dict[str, Any]]) -> Columns:
    contexts = [span.get_span_context() for span in spans]
    times = [
        (None, None) if found.pop(keys.TIME_UNKNOWN, None) else (span.start_time, span.end_time)
        for span, found in zip(spans, attributes, strict=True)
    ]
    parents = [span.parent for span in spans]
    scopes = [span.instrumentation_scope for span in spans]
    return {
        "schema_version": [SCHEMA_VERSION] * len(spans),
        "span_id": [format_span_id(context.span_id if context else 0) for context in contexts],
        "trace_id": [format_trace_id(context.trace_id if context else 0) for context in contexts],
        "parent_span_id": [parent and format_span_id(parent.span_id) for parent in parents],
        "name": [span.name for span in spans],
        "kind": [span.kind.name for span in spans],
        "scope": [scope and scope.name for scope in scopes],
        "service_name": [span.resource.attributes.get(keys.SERVICE_NAME) for span in spans],
        "started_at": [_microseconds(start) for start, _ in times],
        "ended_at": [_microseconds(end) for _, end in times],
        "duration_ms": [None if start is None or end is None else (end - start) / 1e6 for start, end in times],
        "span_status": [span.status.status_code.name for span in spans],
    }


def _microseconds(unix_ns: int | None) -> int | None:
    if unix_ns is None:
        return None
    found = unix_ns // 1000
    return found if _FIRST_US <= found <= _LAST_US else None  # no moment of this calendar


def _loaded(value: Any) -> Any:
    try:
        found: Any = orjson.loads(value)
    except (TypeError, ValueError):
        return None
    return list(cast("dict[str, Any]", found).items()) if isinstance(found, dict) else found


def _as_text(value: Any) -> str:
    text = value if value.__class__ is str else str(value)
    # Surrogates off the wire cannot be stored as UTF-8: they become a question mark, the rest stays.
    return text if text.isascii() else text.encode("utf-8", "replace").decode("utf-8")


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


def _as_sizes(items: Any) -> list[dict[str, Any]]:
    counts = ("messages", "size", "media")
    return [
        {**{name: _as_count(item[name]) for name in counts}, "role": _as_text(item["role"]), "digest": item["digest"]}
        for item in items
    ]


def _as_map(pairs: Any) -> list[tuple[str, Any]]:
    return [
        (key, [_as_text(one) for one in cast("list[Any]", item)] if isinstance(item, list) else _as_text(item))
        for key, item in pairs
    ]


def _as_count_map(pairs: Any) -> list[tuple[str, int]]:
    counts = [(key, _as_count(item)) for key, item in pairs]
    return [(key, count) for key, count in counts if count is not None]


def _as_time(moment: int | datetime) -> datetime:
    return moment if isinstance(moment, datetime) else _EPOCH + timedelta(microseconds=moment)


def _rest(attributes: dict[str, Any]) -> str | None:
    """Return the attributes without a column of their own as JSON, none that can hold a credential."""
    if not attributes:
        return None
    kept = _kept(tuple(attributes))
    rest = attributes if len(kept) == len(attributes) else {key: attributes[key] for key in kept}
    if not rest:
        return None
    for key in _URL_KEYS:
        if isinstance(rest.get(key), str):
            rest[key] = _clean(rest[key])
    return as_json(rest)


@lru_cache(maxsize=1024)  # the same keys come with every span
def _kept(names: tuple[str, ...]) -> list[str]:
    return [key for key in names if not is_secret_name(key.rpartition(".")[2])]


def _clean(url: str) -> str:
    try:
        return clean_url(url)
    except ValueError:  # not a URL: what it holds cannot be told
        return REDACTED


_CONVERSIONS: Final[Mapping[str, Callable[[Any], Any]]] = {
    **dict.fromkeys(("started_at", "ended_at"), _as_time),
    **dict.fromkeys(("duration_ms", "first_chunk_ms"), float),
    "schema_version": _as_count,
    **dict.fromkeys(_COUNT, _as_count),
    **dict.fromkeys(_BOOL, bool),
    **dict.fromkeys(_LIST, _as_list),
    **dict.fromkeys(_SIZES, _as_sizes),
    **dict.fromkeys(_MAP, _as_map),
    **dict.fromkeys(_COUNT_MAP, _as_count_map),
    "billed_cost_usd": _as_money,
}
"""How a value becomes one of its column's kind; the others are texts."""
