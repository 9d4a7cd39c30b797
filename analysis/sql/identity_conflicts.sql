-- identity_conflicts: one row per call and way of telling its conversation that says another than the one it was put in.
-- other_source: provider or sdk_session (calls with that id are in another conversation too), chain or stitched (the call
-- that it continues is in another). The first way that applies won; this is what it overruled.
with told as (
    select call_id, 'provider' as other_source, concat('provider:', provider, ':', provider_conversation_id) as other_id
    from call_keys
    where provider_conversation_id is not null
    union all
    select call_id, 'sdk_session', concat('session:', session_id)
    from call_keys
    where session_id is not null
),

shared as (
    select told.*, threads.conversation_id, min(threads.conversation_id) over same as lowest,
        max(threads.conversation_id) over same as highest
    from told
    inner join threads on told.call_id = threads.call_id
    window same as (partition by told.other_id)
)

select
    call_id,
    conversation_id,
    other_source,
    if(conversation_id = lowest, highest, lowest) as other_conversation_id
from shared
where lowest <> highest
union all
select
    links.call_id,
    threads.conversation_id,
    links.continued_by,
    parents.conversation_id
from continuations as links
inner join threads on links.call_id = threads.call_id
inner join threads as parents on links.parent_call_id = parents.call_id
where threads.conversation_id <> parents.conversation_id
