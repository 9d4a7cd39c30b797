-- message_tokens: one row per message of a call, and one for what it sent again, with its tokens and where in the prompt they
-- end. See messages for the meaning of the columns; sizes are bytes.
with parts as (
    select
        calls.call_id,
        calls.span_id,
        calls.system_digest,
        calls.input_tokens,
        calls.output_tokens,
        least(coalesce(calls.reasoning_tokens, 0), calls.output_tokens) as reasoning_tokens,
        least(coalesce(calls.cache_read_tokens, 0), calls.input_tokens) as read_tokens,
        least(coalesce(calls.cache_write_tokens, 0), calls.input_tokens - read_tokens) as write_tokens,
        histories.known_tokens,
        list_transform(spans.message_sizes, lambda item: item.role) as roles,
        -- what the provider kept is sent again by it
        (calls.previous_response_id is not null or histories.is_state) and not list_contains(roles, 'earlier') as has_state,
        list_sum(list_transform(
            spans.message_sizes,
            lambda item: if(item.role = 'assistant', 0, item.size + 1000 * item.media)::double
        )) as said_weight,
        list_concat(
            if(has_state, [{'role': 'earlier', 'messages': null, 'size': 0, 'media': 0, 'digest': null}], []),
            spans.message_sizes,
            -- an answer may hold nothing that is told apart (reasoning alone)
            if(
                calls.output_tokens is not null and not list_contains(roles, 'assistant'),
                [{'role': 'assistant', 'messages': 1, 'size': 0, 'media': 0, 'digest': null}], []
            )
        ) as entries
    from call_keys as calls
    inner join spans on calls.span_id = spans.span_id
    left join histories on calls.call_id = histories.call_id
    where spans.message_sizes is not null
),

entries as (
    select
        parts.* exclude (roles, entries),
        unnest(entries, recursive := true),
        generate_subscripts(entries, 1) as position
    from parts
),

sized as (
    select
        entries.*,
        role = 'assistant' as is_answer,
        -- tool definitions stand before the system prompt, both before all messages
        case role when 'tools' then 0 when 'system' then 1 when 'earlier' then 2 else 2 + position end as rank,
        greatest(coalesce(size, 0) + 1000 * coalesce(media, 0), 1)::double as own_weight
    from entries
),

kinds as (
    select
        sized.*,
        -- of a state nothing is sent that has a size: it is what the sizes do not explain, at four bytes a token
        if(
            has_state and role = 'earlier', greatest(4 * coalesce(input_tokens, 0)::double - said_weight, 1), own_weight
        ) as weight,
        case
            when role = 'assistant' then output_tokens
            when known_tokens is null then input_tokens
            when role in ('system', 'tools', 'earlier') then known_tokens
            else input_tokens - known_tokens
        end as group_tokens,
        case when role = 'assistant' then 'answer' when known_tokens is null then 'input'
            when role in ('system', 'tools', 'earlier') then 'before' else 'new' end as pool
    from sized
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
    shared.* exclude (group_tokens, known_tokens, own_weight, said_weight, has_state),
    row_number() over in_order - 1 as message_index,
    sum(if(is_answer, 0, tokens)) over in_order as ends_at,
    -- how much of a history that holds it a message takes up: its tokens, less those of reasoning, which is not sent again
    least(greatest(coalesce(
        if(is_answer and output_tokens > 0, round(tokens * (1 - reasoning_tokens / output_tokens)), tokens), weight / 4
    ), 1), 1e9)::bigint as history_units
from shared
window in_order as (partition by call_id order by is_answer, rank, position rows unbounded preceding)
