-- chains: one row per call that continues an earlier one by its response id, or is continued so; the chain's conversation.
-- Walked from the roots down, so that every link is passed once and a circle is never entered. A root that the store does
-- not have is known by the id it was continued with; a root with a conversation of its own gives it to its chain.
with recursive linked as (
    select distinct
        spans.call_id,
        spans.provider,
        spans.response_id,
        spans.previous_response_id,
        spans.conversation_id
    from spans
    where spans.call_id is not null
        and (
            spans.previous_response_id is not null
            or spans.response_id in (select previous_response_id from spans where previous_response_id is not null)
        )
),

walked as (
    select
        root.call_id,
        root.provider,
        root.response_id,
        coalesce(root.conversation_id, root.previous_response_id, root.response_id) as conversation_id
    from linked as root
    where not exists (
        select 1
        from linked as parent
        where parent.provider = root.provider and parent.response_id = root.previous_response_id
    )
    union
    select
        child.call_id,
        child.provider,
        child.response_id,
        coalesce(child.conversation_id, parent.conversation_id)
    from walked as parent
    inner join linked as child
        on child.provider = parent.provider and child.previous_response_id = parent.response_id
)

select
    call_id,
    min(conversation_id) as conversation_id
from walked
group by call_id
