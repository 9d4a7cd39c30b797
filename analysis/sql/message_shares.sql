-- message_shares: one row per message of a call, and one for what it sent again, with its share of the call's cost; USD.
-- The rows of a call add up to its tokens and its cost. See messages for the meaning of the columns. read_share,
-- write_share and fresh_share say in which proportion what was read from the cache, written to it and neither is paid.
with cached as (
    select
        message_tokens.*,
        if(is_answer, 0, greatest(least(ends_at, read_tokens) - (ends_at - tokens), 0)) as cached_tokens,
        if(is_answer, 0, greatest(
            least(ends_at, read_tokens + write_tokens) - greatest(ends_at - tokens, read_tokens), 0
        )) as written_tokens
    from message_tokens
),

priced as (
    select
        cached.*,
        costs.read_usd::double * cached_tokens / nullif(read_tokens, 0) as read_part,
        costs.write_usd::double * written_tokens / nullif(write_tokens, 0) as write_part,
        if(
            is_answer,
            costs.answer_usd::double * tokens / nullif(output_tokens, 0),
            costs.fresh_usd::double * (tokens - cached_tokens - written_tokens)
                / nullif(input_tokens - read_tokens - write_tokens, 0)
        ) as fresh_part,
        -- a bill without a price, or of what is free by the price book, is shared out by tokens
        coalesce(costs.computed_cost_usd > 0, false) as has_prices
    from cached
    left join attempt_costs as costs on cached.span_id = costs.span_id
),

prompts as (
    select threads.conversation_id, call_keys.system_digest, arg_min(call_keys.call_id, places.place) as first_call_id
    from call_keys
    inner join threads on call_keys.call_id = threads.call_id
    inner join places on call_keys.call_id = places.call_id
    where call_keys.system_digest is not null and call_keys.message_digests is not null
    group by threads.conversation_id, call_keys.system_digest
),

weighed as (
    select
        priced.*,
        case when is_answer then 0 when has_prices then coalesce(read_part, 0) else coalesce(cached_tokens, 0) end::double
            as read_share,
        case when is_answer then 0 when has_prices then coalesce(write_part, 0) else coalesce(written_tokens, 0) end::double
            as write_share,
        case
            when has_prices then coalesce(fresh_part, 0)
            when is_answer then coalesce(tokens, weight / 4)
            else coalesce(tokens - cached_tokens - written_tokens, weight / 4)
        end::double as fresh_share,
        read_share + write_share + fresh_share as share
    from priced
),

summed as (
    select
        weighed.*,
        calls.conversation_id,
        calls.turn_index,
        calls.place,
        calls.provider,
        calls.cost_usd as call_usd,
        if(role in ('system', 'tools'), prompts.first_call_id, null) as first_call_id,
        -- shares are cut from their running sum, to 1e-12 USD: whatever is rounded, they add up to the call's cost
        case
            when call_usd is null or message_index + 1 = count(*) over (partition by weighed.call_id) then call_usd
            else least(call_usd, coalesce(
                call_usd::double * sum(share) over in_order / nullif(sum(share) over (partition by weighed.call_id), 0), 0
            )::decimal(38, 12)::decimal(38, 18))
        end as usd_upto
    from weighed
    inner join call_costs as calls on weighed.call_id = calls.call_id
    left join prompts on calls.conversation_id = prompts.conversation_id and weighed.system_digest = prompts.system_digest
    window in_order as (partition by weighed.call_id order by message_index rows unbounded preceding)
)

select
    call_id,
    conversation_id,
    turn_index,
    place,
    message_index,
    provider,
    role,
    messages,
    size,
    media,
    is_answer,
    role = 'earlier' or coalesce(first_call_id <> call_id, false) as is_resent,
    first_call_id,
    tokens,
    case
        when tokens is null then null
        when role = 'earlier' then 'estimated'
        when pool_size = 1 then 'exact'
        else 'estimated'
    end as tokens_source,
    try_cast(cached_tokens as bigint) as cached_tokens,
    try_cast(written_tokens as bigint) as written_tokens,
    read_share,
    write_share,
    fresh_share,
    history_units,
    usd_upto - coalesce(lag(usd_upto) over (partition by call_id order by message_index), 0) as cost_usd
from summed
