-- call_keys: one row per provider call: what places it among other calls, from the span of its last HTTP attempt (span_id).
-- A table, made when the ledger is opened: everything about conversations is worked out from it. recording and entry are
-- file name and position of an imported call; entry orders calls of unknown time. begun_at and over_at span all attempts.
-- Most calls have one attempt: only the others are grouped and put in order.
with several as (
    select
        call_id,
        count(*) as attempts,
        min(started_at) as begun_at,
        max(ended_at) as over_at,
        bool_or(billed_cost_usd is not null) as says_cost
    from spans
    where call_id is not null
    group by call_id
    having count(*) > 1
),

last_attempts as (
    select *, 1 as attempts, started_at as begun_at, ended_at as over_at, billed_cost_usd is not null as says_cost
    from spans
    where call_id is not null and call_id not in (select call_id from several)
    union all
    select spans.*, several.attempts, several.begun_at, several.over_at, several.says_cost
    from spans
    inner join several on spans.call_id = several.call_id
    qualify row_number() over (partition by spans.call_id order by spans.attempt_index desc, spans.span_id) = 1
)

select
    call_id,
    span_id,
    provider,
    request_model,
    response_id,
    previous_response_id,
    conversation_id,
    conversation_source,
    provider_conversation_id,
    session_id,
    user_id,
    regexp_extract(source, '^(.*)#\d+$', 1) as recording,
    try_cast(regexp_extract(source, '#(\d+)$', 1) as bigint) as entry,
    started_at,
    ended_at,
    response_model,
    system_digest,
    input_tokens,
    output_tokens,
    reasoning_tokens,
    cache_read_tokens,
    cache_write_tokens,
    message_count,
    continues_turn,
    marks_cache,
    request_digest,
    prefix_digests,
    answer_digests,
    first_message_digest,
    list_filter(list_transform(message_sizes, lambda size: size.digest), lambda digest: digest is not null)
        as message_digests,
    parent_call_id,
    parent_candidates,
    attempts,
    begun_at,
    over_at,
    says_cost
from last_attempts
