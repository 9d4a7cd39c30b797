-- histories: one row per call that goes on with another's history: all that this one was sent, what it sent and its answer.
-- is_state: the provider keeps the history, by a response id or in a conversation of its own, where each call that was
-- answered goes on with the one before. is_whole: nothing came in between that was not seen. is_within: the other call came
-- before it in the same conversation. answer_place: which of several answers it goes on with, as a part of them all (the
-- second of two is 1, the first 0.5), NULL where that is not known. known_tokens: all that the other call had in it, of one
-- model and one system prompt, so that the rest of the input is what is new.
with placed as (
    select
        call_keys.*,
        threads.conversation_id as thread_id,
        places.place,
        call_keys.input_tokens::hugeint + call_keys.output_tokens - coalesce(call_keys.reasoning_tokens, 0) as kept_tokens,
        last_value(if(call_keys.output_tokens is null, null, call_keys.call_id) ignore nulls) over (
            partition by threads.conversation_id, call_keys.provider, call_keys.provider_conversation_id
            order by places.place
            rows between unbounded preceding and 1 preceding
        ) as answered_before
    from call_keys
    inner join threads on call_keys.call_id = threads.call_id
    inner join places on call_keys.call_id = places.call_id
),

linked as (
    select
        placed.*,
        links.continued_by,
        coalesce(
            links.parent_call_id,
            if(provider_conversation_id is not null and len(coalesce(prefix_digests, [])) = 0, answered_before, null)
        ) as history_call_id
    from placed
    left join continuations as links on placed.call_id = links.call_id
),

paired as (
    select
        child.call_id,
        parent.call_id as parent_call_id,
        coalesce(child.continued_by, 'state') in ('chain', 'state') as is_state,
        child.continued_by is null as is_supposed,
        child.thread_id = parent.thread_id and child.place > parent.place as is_within,
        child.response_model is not distinct from parent.response_model
            and child.system_digest is not distinct from parent.system_digest as is_alike,
        child.input_tokens,
        parent.kept_tokens,
        parent.answer_digests,
        child.prefix_digests,
        list_filter(
            coalesce(child.prefix_digests, []), lambda digest: list_contains(coalesce(parent.answer_digests, []), digest)
        )[1] as shared_digest
    from linked as child
    inner join placed as parent on child.history_call_id = parent.call_id
)

select
    call_id,
    parent_call_id,
    is_state,
    is_state or coalesce(list_position(prefix_digests, shared_digest), 1) = 1 as is_whole,
    is_within,
    list_position(answer_digests, shared_digest) / len(answer_digests) as answer_place,
    if(is_alike and is_whole and input_tokens >= kept_tokens, kept_tokens, null)::bigint as known_tokens
from paired
-- a conversation's id alone does not say that its messages were kept: the input must be large enough to hold them
where not is_supposed or input_tokens >= kept_tokens
