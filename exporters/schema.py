"""The columns of a stored span: names, types, units. It holds no logic; ``rows`` fills it, the SQL models read it.

Counts are 64-bit, money is DECIMAL, times are UTC with microseconds. A new column is added at the end with a higher
``SCHEMA_VERSION``; readers unite files by name, so that every older file stays readable.
"""

from __future__ import annotations

from typing import Final

import pyarrow as pa

SCHEMA_VERSION: Final = 3
FILE_VERSION: Final = b"turnledger.schema_version"
"""Key of a file's metadata that says which version of the columns it has."""

_STRING_LIST: Final = pa.list_(pa.string())
_MESSAGE_SIZES: Final = pa.list_(
    pa.struct(
        [
            ("role", pa.string()),
            ("messages", pa.int64()),
            ("size", pa.int64()),
            ("media", pa.int64()),
            ("digest", pa.string()),
        ]
    )
)
_COUNT_MAP: Final = pa.map_(pa.string(), pa.int64())

UNLIKE: Final = frozenset(
    [
        "span_id",
        "trace_id",
        "started_at",
        "ended_at",
        "duration_ms",
        "call_id",
        "response_id",
        "request_id",
        "raw_usage",
        "raw_metadata",
        "content",
        "attributes",
        "request_digest",
    ]
)
"""Columns that have another value in nearly every row: a dictionary of them costs time and space for nothing."""

SPAN_SCHEMA: Final[pa.Schema] = pa.schema(
    [
        pa.field("schema_version", pa.int64(), nullable=False),
        # --- the span itself
        pa.field("span_id", pa.string(), nullable=False),  # 16 hex digits
        pa.field("trace_id", pa.string(), nullable=False),  # 32 hex digits
        pa.field("parent_span_id", pa.string()),
        pa.field("name", pa.string()),
        pa.field("kind", pa.string()),  # INTERNAL, CLIENT ...
        pa.field("scope", pa.string()),  # instrumentation scope; ours is "turnledger"
        pa.field("service_name", pa.string()),
        pa.field("started_at", pa.timestamp("us", tz="UTC")),  # NULL: an imported exchange of unknown time
        pa.field("ended_at", pa.timestamp("us", tz="UTC")),
        pa.field("duration_ms", pa.float64()),  # NULL with started_at
        pa.field("span_status", pa.string()),  # UNSET, OK, ERROR
        pa.field("source", pa.string()),  # "<file name>#<index>" of an imported exchange, NULL when live
        # --- the call (NULL on spans that are not provider calls)
        pa.field("call_id", pa.string()),  # span_id of the call's first attempt
        pa.field("attempt_index", pa.int64()),  # 0 for the first HTTP attempt of the call
        pa.field("provider", pa.string()),
        pa.field("surface", pa.string()),
        pa.field("operation", pa.string()),
        pa.field("request_model", pa.string()),
        pa.field("response_model", pa.string()),
        pa.field("server_address", pa.string()),
        pa.field("status_code", pa.int64()),  # HTTP status; NULL when no response came
        pa.field("error_type", pa.string()),  # exception class, provider's error type, or the status code as text
        pa.field("is_stream", pa.bool_()),
        pa.field("first_chunk_ms", pa.float64()),  # call start to first body chunk of a stream
        pa.field("finish_reasons", _STRING_LIST),
        pa.field("service_tier", pa.string()),
        pa.field("response_id", pa.string()),
        pa.field("previous_response_id", pa.string()),
        pa.field("request_id", pa.string()),
        # --- identity
        pa.field("conversation_id", pa.string()),
        pa.field(
            "conversation_source", pa.string()
        ),  # app, provider, sdk_session, stitched; NULL: none known at capture
        pa.field("user_id", pa.string()),
        pa.field("tags", pa.map_(pa.string(), pa.string())),
        pa.field("observation", pa.string()),  # qualified name of the @observe function around the call
        pa.field("identifiers", pa.map_(pa.string(), _STRING_LIST)),
        # --- usage (inclusive buckets: input includes cache reads and writes, output includes reasoning)
        pa.field("input_tokens", pa.int64()),
        pa.field("output_tokens", pa.int64()),
        pa.field("cache_read_tokens", pa.int64()),
        pa.field("cache_write_tokens", pa.int64()),
        pa.field("cache_write_by_ttl", _COUNT_MAP),  # "5m", "1h", "30m", "12h" -> tokens
        pa.field("reasoning_tokens", pa.int64()),
        pa.field("usage_details", _COUNT_MAP),  # other counted units by the document's name (input_audio_tokens ...)
        pa.field("usage_problems", _STRING_LIST),  # contradictions in the reported figures, as sentences
        pa.field("billed_cost_usd", pa.decimal128(20, 10)),  # only where the provider says it
        # --- the request's shape, without its content
        pa.field("message_count", pa.int64()),  # messages sent in the request
        pa.field("continues_turn", pa.bool_()),  # the last message sent is a tool result, not a user's
        # --- raw
        pa.field("raw_usage", pa.string()),  # JSON
        pa.field("raw_metadata", pa.string()),  # JSON: request, response, headers, url; content replaced by its size
        pa.field("content", pa.string()),  # JSON; NULL unless content capture was asked for
        pa.field("attributes", pa.string()),  # JSON: span attributes that have no column of their own
        # --- since version 2
        pa.field("session_id", pa.string()),  # of the SDK's session, as the application handed it over
        pa.field("managed_strategy", pa.string()),  # how the conversation was given its context, where turnledger chose
        pa.field("strategy_reason", pa.string()),  # why
        # what ties calls by their messages: keyed, chained digests, useless without meta/digest.key
        pa.field("digest_key", pa.string()),  # name of their key
        pa.field("request_digest", pa.string()),  # of the whole request
        pa.field("prefix_digests", _STRING_LIST),  # of its prefixes that end with a model's message, the longest first
        pa.field("answer_digests", _STRING_LIST),  # of request and answer, one a choice
        pa.field("system_digest", pa.string()),  # of system prompt and tools, which never tie calls
        pa.field("message_sizes", _MESSAGE_SIZES),  # system, tools, earlier messages as one, new ones, answers
        pa.field("first_message_digest", pa.string()),  # of the request's first message by itself
        pa.field("marks_cache", pa.bool_()),  # the request says what is to be cached
        pa.field("asks_tools", pa.bool_()),  # the answer calls a tool of the application
        pa.field("parent_call_id", pa.string()),  # the call continued, where the process that made this one had seen it
        pa.field("provider_conversation_id", pa.string()),  # also where the application has set another
        pa.field("parent_candidates", pa.int64()),  # how many calls it might have been
        # --- since version 3
        pa.field(
            "billing", pa.map_(pa.string(), pa.string())
        ),  # what the price depends on: upstream, region, speed ...
    ],
    metadata={FILE_VERSION: str(SCHEMA_VERSION)},
)
