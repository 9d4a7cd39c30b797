-- places: one row per call: which turn of its conversation it belongs to, counted from 0 in the order of time.
-- A turn is a user's input and every call until its answer. A call goes on with the turn before if it brings a tool's
-- result, asks the very same again, or is made (by a sub-agent) while another call of the conversation waits for its tools.
with ordered as (
    select
        calls.call_id,
        threads.conversation_id,
        calls.started_at,
        row_number() over (
            partition by threads.conversation_id
            order by calls.started_at nulls last, calls.entry, calls.call_id
        ) as place,
        calls.continues_turn,
        links.parent_call_id,
        -- what goes on with a state that the provider keeps can be worded alike and be another turn
        if(calls.previous_response_id is null and calls.provider_conversation_id is null, calls.request_digest, null)
            as request_digest
    from call_keys as calls
    inner join threads on calls.call_id = threads.call_id
    left join continuations as links on calls.call_id = links.call_id
),

resumed as (
    select parent_call_id, min(started_at) as resumed_at
    from ordered
    where continues_turn
    group by parent_call_id
),

marked as (
    select
        ordered.*,
        ordered.request_digest is not null and row_number() over (
            partition by ordered.conversation_id, ordered.request_digest order by ordered.place
        ) > 1 as is_repeated,
        coalesce(max(resumed.resumed_at) over (
            partition by ordered.conversation_id order by ordered.place
            rows between unbounded preceding and 1 preceding
        ) > ordered.started_at, false) as is_nested
    from ordered
    left join resumed on ordered.call_id = resumed.parent_call_id
)

select
    call_id,
    place,
    greatest(
        sum(if(continues_turn or is_repeated or is_nested, 0, 1)) over (
            partition by conversation_id order by place
        ) - 1,
        0
    )::bigint as turn_index
from marked
