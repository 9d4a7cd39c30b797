"""Every span attribute key turnledger writes or reads; no key stands as a literal anywhere else.

``gen_ai.*`` follows the OpenTelemetry GenAI semantic conventions
(https://opentelemetry.io/docs/specs/semconv/registry/attributes/gen-ai/, semconv 0.66b2, checked 2026-11-23).
They are copied because upstream's Python constants are deprecated as moved. ``turnledger.*`` holds what the convention
lacks. Attributes cannot be maps, so maps travel as JSON text.
"""

from __future__ import annotations

from typing import Final

SCOPE: Final = "turnledger"
"""Instrumentation scope name of our spans."""

# --- gen_ai.*
OPERATION_NAME: Final = "gen_ai.operation.name"
PROVIDER_NAME: Final = "gen_ai.provider.name"
REQUEST_MODEL: Final = "gen_ai.request.model"
RESPONSE_MODEL: Final = "gen_ai.response.model"
RESPONSE_ID: Final = "gen_ai.response.id"
FINISH_REASONS: Final = "gen_ai.response.finish_reasons"
CONVERSATION_ID: Final = "gen_ai.conversation.id"
INPUT_TOKENS: Final = "gen_ai.usage.input_tokens"
OUTPUT_TOKENS: Final = "gen_ai.usage.output_tokens"
CACHE_READ_TOKENS: Final = "gen_ai.usage.cache_read.input_tokens"
CACHE_WRITE_TOKENS: Final = "gen_ai.usage.cache_creation.input_tokens"
CACHE_WRITE_TOKENS_ALIAS: Final = "gen_ai.usage.cache_write.input_tokens"
"""The other spelling in the field; read, never written."""
REASONING_TOKENS: Final = "gen_ai.usage.reasoning.output_tokens"

# --- other conventions
SERVER_ADDRESS: Final = "server.address"
STATUS_CODE: Final = "http.response.status_code"
ERROR_TYPE: Final = "error.type"
USER_ID: Final = "user.id"
SERVICE_NAME: Final = "service.name"

# --- turnledger.*
PROVIDER: Final = "turnledger.provider"
"""Document id of the provider; ``gen_ai.provider.name`` is its name in the convention."""
SURFACE: Final = "turnledger.surface"
CALL_ID: Final = "turnledger.call.id"
"""Span id of the call's first attempt."""
ATTEMPT_INDEX: Final = "turnledger.attempt.index"
SOURCE: Final = "turnledger.source"
IS_STREAM: Final = "turnledger.is_stream"
FIRST_CHUNK_MS: Final = "turnledger.first_chunk_ms"
SERVICE_TIER: Final = "turnledger.service_tier"
PREVIOUS_RESPONSE_ID: Final = "turnledger.previous_response.id"
REQUEST_ID: Final = "turnledger.request.id"
CONVERSATION_SOURCE: Final = "turnledger.conversation.source"
TAGS: Final = "turnledger.tags"
"""JSON object of text to text."""
OBSERVATION: Final = "turnledger.observation"
IDENTIFIERS: Final = "turnledger.identifiers"
"""JSON object: name to list of values."""
CACHE_WRITE_BY_TTL: Final = "turnledger.usage.cache_write_by_ttl"
"""JSON object: TTL (``5m``, ``1h`` ...) to tokens."""
USAGE_DETAILS: Final = "turnledger.usage.details"
"""JSON object: unit to count."""
USAGE_PROBLEMS: Final = "turnledger.usage.problems"
RAW_USAGE: Final = "turnledger.usage.raw"
"""JSON: the provider's own usage object, merged over a stream as its document says."""
BILLED_COST_USD: Final = "turnledger.billed_cost_usd"
"""Decimal as text: attributes have no decimal type, and money is never a float."""
MESSAGE_COUNT: Final = "turnledger.request.message_count"
CONTINUES_TURN: Final = "turnledger.request.continues_turn"
RAW_METADATA: Final = "turnledger.raw_metadata"
"""JSON: request, response, headers, URL; content replaced by its size."""
CONTENT: Final = "turnledger.content"
"""JSON: request and response bodies, only where content capture was asked for."""
SEEN: Final = "turnledger.seen"
"""``returned`` where the call was read from a function's returned object: there was no exchange to see."""
FAILED_STEP: Final = "turnledger.failed_step"
"""The step of capture that failed, our own failure: what the row says may be incomplete."""
TIME_UNKNOWN: Final = "turnledger.time_unknown"
"""True where an imported recording has no usable time."""
