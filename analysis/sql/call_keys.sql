-- call_keys: one row per provider call: what places it among other calls, from the span of its last HTTP attempt (span_id).
-- A table, made when the ledger is opened: everything about conversations is worked out from it. recording and entry are
-- file name and position of an imported call; entry orders calls of unknown time.
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
    parent_candidates
from spans
where call_id is not null
qualify row_number() over (partition by call_id order by attempt_index desc, span_id) = 1
