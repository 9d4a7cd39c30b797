-- threads: one row per call: the conversation it is in, what says so, and how sure that is (NULL: unknown).
-- First that applies: the id the call came with (set by the application, the provider's); that of the call it continues by
-- a response id, before an SDK session's; that of the call its messages continue; walked down from the roots, so that every
-- link is passed once and a circle is never entered. A root that others continue by its response id is known by that; one
-- that the store does not have, by the id it was continued with. A call alone is its own conversation; whether it was alone
-- is unknown if it was sent with earlier answers. What was stitched when it was made knows its root at once.
with recursive nodes as (
    select
        calls.call_id,
        calls.response_id,
        calls.previous_response_id,
        if(
            calls.conversation_source = 'stitched'
            or (calls.conversation_source = 'sdk_session' and links.continued_by = 'chain'),
            null,
            calls.conversation_id
        ) as own_id,
        calls.conversation_source as own_source,
        if(calls.conversation_source = 'stitched', calls.conversation_id, null) as live_id,
        coalesce(live_root.call_id, links.parent_call_id) as up_call_id,
        links.continued_by,
        links.candidates,
        coalesce(len(calls.prefix_digests), 0) > 0 as has_history
    from call_keys as calls
    left join continuations as links on calls.call_id = links.call_id
    left join call_keys as live_root
        on calls.conversation_source = 'stitched'
        and calls.conversation_id = live_root.call_id
        and links.continued_by = 'stitched'
),

continued as (
    select up_call_id, min(continued_by) as continued_by from nodes where own_id is null group by up_call_id
),

walked as (
    select
        root.call_id,
        coalesce(
            root.own_id,
            root.previous_response_id,
            root.live_id,
            if(continued.continued_by = 'chain', root.response_id, null),
            root.call_id
        ) as conversation_id,
        case
            when root.own_id is not null then root.own_source
            when root.previous_response_id is not null then 'chain'
            when root.live_id is not null then 'stitched'
            else coalesce(continued.continued_by, 'call')
        end as conversation_source,
        case
            when root.own_id is not null or root.previous_response_id is not null then 1.0
            when root.live_id is not null then 0.99 / coalesce(root.candidates, 1)
            when not root.has_history then 1.0
        end as confidence
    from nodes as root
    left join continued on root.call_id = continued.up_call_id
    where root.own_id is not null
        or root.up_call_id is null
        or root.up_call_id not in (select call_id from nodes)
    union all
    select
        child.call_id,
        parent.conversation_id,
        child.continued_by,
        if(child.continued_by = 'chain', 1.0, 0.99 / child.candidates) * coalesce(parent.confidence, 1.0)
    from walked as parent
    inner join nodes as child on parent.call_id = child.up_call_id
    where child.own_id is null
)

select call_id, conversation_id, conversation_source, confidence from walked
