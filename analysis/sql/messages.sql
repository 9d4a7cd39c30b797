-- messages: one row per message, in the call that sent it first or brought it as its answer; what a call sends once more is
-- one row of that call (is_resent), so that the rows of a call add up to its tokens and its cost. Money is USD, sizes are bytes.
-- role: system, tools (definitions), earlier (resent messages, their number in messages), user, tool (a result), assistant.
-- tokens_source: exact where the provider said it (an answer) or two calls in a row show it (the input less the input and
-- the answer before); estimated where what is known of several is shared out by size. NULL: no usage.
-- cached_tokens: how much of it was read from the cache, which holds the beginning of a prompt: tools, system, messages.
with cached as (
    select
        message_tokens.*,
        if(is_answer, 0, greatest(least(ends_at, read_tokens) - (ends_at - tokens), 0)) as cached_tokens,
        if(is_answer, 0, greatest(
            least(ends_at, read_tokens + write_tokens) - greatest(ends_at - tokens, read_tokens), 0
        )) as written_tokens
    from message_tokens
),

weighed as (
    select
        cached.*,
        case
            when costs.computed_cost_usd is null then tokens::double
            when is_answer then coalesce(costs.answer_usd::double * tokens / nullif(output_tokens, 0), 0)
            else coalesce(costs.read_usd::double * cached_tokens / nullif(read_tokens, 0), 0)
                + coalesce(costs.write_usd::double * written_tokens / nullif(write_tokens, 0), 0)
                + coalesce(costs.fresh_usd::double * (tokens - cached_tokens - written_tokens)
                    / nullif(input_tokens - read_tokens - write_tokens, 0), 0)
        end as share
    from cached
    left join attempt_costs as costs on cached.span_id = costs.span_id
),

summed as (
    select
        weighed.*,
        calls.conversation_id,
        calls.turn_index,
        calls.place,
        calls.provider,
        calls.cost_usd as call_usd,
        row_number() over in_order - 1 as message_index,
        -- shares are cut from their running sum: whatever is rounded, they add up to the call's cost
        if(
            message_index + 1 = count(*) over (partition by weighed.call_id),
            call_usd,
            (call_usd::double * sum(share) over in_order / nullif(sum(share) over (partition by weighed.call_id), 0))
                ::decimal(38, 18)
        ) as usd_upto
    from weighed
    inner join calls on weighed.call_id = calls.call_id
    window in_order as (partition by weighed.call_id order by is_answer, rank, position rows unbounded preceding)
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
    role = 'earlier' or (role in ('system', 'tools') and place > 1) as is_resent,
    tokens,
    case
        when tokens is null then null
        when role = 'earlier' then 'estimated'
        when pool_size = 1 then 'exact'
        else 'estimated'
    end as tokens_source,
    try_cast(cached_tokens as bigint) as cached_tokens,
    if(tokens > 0 and not is_answer, cached_tokens * 2 > tokens, null) as read_from_cache,
    usd_upto - coalesce(lag(usd_upto) over (partition by call_id order by message_index), 0) as cost_usd
from summed
