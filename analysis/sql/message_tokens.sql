-- message_tokens: one row per message of a call, and one for what it sent again, with its tokens and where in the prompt they
-- end. See messages for the meaning of the columns; sizes are bytes.
with parts as (
    select
        calls.call_id,
        calls.span_id,
        calls.input_tokens,
        calls.output_tokens,
        least(coalesce(calls.cache_read_tokens, 0), calls.input_tokens) as read_tokens,
        least(coalesce(calls.cache_write_tokens, 0), calls.input_tokens - read_tokens) as write_tokens,
        -- what the call before had in it, where this one holds all of that and no other prompt
        if(
            parents.response_model is not distinct from calls.response_model
            and parents.system_digest is not distinct from calls.system_digest
            and calls.input_tokens >= parents.input_tokens + parents.output_tokens - coalesce(parents.reasoning_tokens, 0),
            parents.input_tokens + parents.output_tokens - coalesce(parents.reasoning_tokens, 0),
            null
        ) as known_tokens,
        list_transform(spans.message_sizes, lambda item: item.role) as roles,
        list_concat(
            -- what the provider kept is sent again by it; an answer may hold nothing that is told apart (reasoning alone)
            if(
                calls.previous_response_id is not null and links.call_id is not null
                and not list_contains(roles, 'earlier'),
                [{'role': 'earlier', 'messages': null, 'size': 0, 'media': 0, 'digest': null}], []
            ),
            spans.message_sizes,
            if(
                calls.output_tokens is not null and not list_contains(roles, 'assistant'),
                [{'role': 'assistant', 'messages': 1, 'size': 0, 'media': 0, 'digest': null}], []
            )
        ) as entries
    from call_keys as calls
    inner join spans on calls.span_id = spans.span_id
    left join continuations as links on calls.call_id = links.call_id
    left join call_keys as parents on links.parent_call_id = parents.call_id
    where spans.message_sizes is not null
),

entries as (
    select
        parts.* exclude (roles, entries),
        unnest(entries, recursive := true),
        generate_subscripts(entries, 1) as position
    from parts
),

kinds as (
    select
        entries.*,
        role = 'assistant' as is_answer,
        -- tool definitions stand before the system prompt, both before all messages
        case role when 'tools' then 0 when 'system' then 1 when 'earlier' then 2 else 2 + position end as rank,
        greatest(coalesce(size, 0) + 1000 * coalesce(media, 0), 1) as weight,
        case
            when role = 'assistant' then output_tokens
            when known_tokens is null then input_tokens
            when role in ('system', 'tools', 'earlier') then known_tokens
            else input_tokens - known_tokens
        end as group_tokens,
        case when role = 'assistant' then 'answer' when known_tokens is null then 'input'
            when role in ('system', 'tools', 'earlier') then 'before' else 'new' end as pool
    from entries
),

shared as (
    select
        kinds.*,
        count(*) over (partition by call_id, pool) as pool_size,
        try_cast(
            round(group_tokens::double * sum(weight) over upto / sum(weight) over (partition by call_id, pool))
            as bigint
        ) - try_cast(round(
            group_tokens::double * (sum(weight) over upto - weight) / sum(weight) over (partition by call_id, pool)
        ) as bigint) as tokens
    from kinds
    window upto as (partition by call_id, pool order by rank, position rows unbounded preceding)
)

select
    shared.* exclude (weight, group_tokens, known_tokens),
    sum(if(is_answer, 0, tokens)) over (
        partition by call_id order by is_answer, rank, position rows unbounded preceding
    ) as ends_at
from shared
