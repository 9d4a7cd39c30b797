-- strategies: one row per call: how it was given its context, as far as the wire shows, and whether a prompt cache served it.
-- strategy: server_state, sdk_session, single_turn (nothing before it was sent), full_history, sliding_window (it begins
-- with a message that was not the conversation's first), summarised (it begins with what nobody had sent before, or with
-- another system prompt). NULL: the request holds no messages. strategy_detail: which state; how many messages a window
-- has. caching: explicit (the request marks what to cache), implicit (the provider did it by itself), absent; NULL: no usage.
with seen as (
    select
        calls.*,
        threads.conversation_id as thread_id,
        threads.conversation_source as thread_source,
        places.place,
        links.continued_by,
        coalesce(len(calls.prefix_digests), 0) > 0 as has_history,
        first_value(calls.first_message_digest) over in_order as opening,
        lag(calls.system_digest) over in_order as system_before
    from call_keys as calls
    inner join threads on calls.call_id = threads.call_id
    inner join places on calls.call_id = places.call_id
    left join continuations as links on calls.call_id = links.call_id
    window in_order as (partition by threads.conversation_id order by places.place)
),

-- what decides between a window and a summary: looked up only where neither is ruled out
undecided as (
    select distinct thread_id
    from seen
    where has_history and continued_by is null and place > 1 and first_message_digest is distinct from opening
),

sent as (
    select thread_id, message.digest, min(place) as place
    from seen, unnest(message_digests) as message(digest)
    where thread_id in (select thread_id from undecided)
    group by thread_id, message.digest
)

select
    seen.call_id,
    case
        when seen.previous_response_id is not null or seen.provider_conversation_id is not null then 'server_state'
        when seen.session_id is not null then 'sdk_session'
        when seen.request_digest is null then null
        when not seen.has_history then 'single_turn'
        when seen.continued_by is not null or seen.place = 1 or seen.first_message_digest = seen.opening
            then 'full_history'
        when sent.place < seen.place and seen.system_digest is not distinct from seen.system_before
            then 'sliding_window'
        else 'summarised'
    end as strategy,
    case
        when seen.previous_response_id is not null then 'previous response'
        when seen.provider_conversation_id is not null then 'conversation'
        when strategy = 'sliding_window' then concat(seen.message_count, ' messages')
    end as strategy_detail,
    case
        when seen.marks_cache then 'explicit'
        when seen.cache_read_tokens > 0 or seen.cache_write_tokens > 0 then 'implicit'
        when seen.input_tokens is not null then 'absent'
    end as caching
from seen
left join sent on seen.thread_id = sent.thread_id and seen.first_message_digest = sent.digest
