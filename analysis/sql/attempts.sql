-- attempts: one row per HTTP attempt of a provider call; times in UTC, durations in milliseconds.
-- A call is its attempts: they share call_id, and attempt_index counts them from 0.
select
    spans.call_id,
    spans.attempt_index,
    spans.span_id,
    spans.provider,
    spans.surface,
    spans.started_at,
    spans.ended_at,
    spans.duration_ms,
    spans.status_code,
    spans.error_type,
    json_extract_string(spans.raw_metadata, '$.response_headers."retry-after"') as retry_after,
    spans.request_id,
    spans.response_id,
    spans.source
from spans
where spans.call_id is not null
