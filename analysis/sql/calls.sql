-- calls: one row per provider call, made of its attempts; tokens are inclusive buckets, money is USD, times are UTC.
-- Facts are the last attempt's; time runs from the first attempt's start to the last one's end; cost is summed over attempts.
-- strategy says what the call shows of how it was given its context: server_state, prompt_cache, full_history or single.
-- Calls of unknown time come last in their conversation.
with last_attempts as (
    select spans.*
    from spans
    where spans.call_id is not null
    qualify row_number() over (partition by spans.call_id order by spans.attempt_index desc, spans.span_id) = 1
),

sums as (
    select
        spans.call_id,
        count(*) as attempts,
        min(spans.started_at) as started_at,
        max(spans.ended_at) as ended_at,
        sum(costs.computed_cost_usd) as computed_cost_usd,
        bool_or(costs.unpriced_reason is not null) as is_unpriced,
        bool_or(costs.at_latest_price) as at_latest_price,
        sum(spans.billed_cost_usd)::decimal(38, 18) as billed_cost_usd
    from spans
    left join attempt_costs as costs on spans.span_id = costs.span_id
    where spans.call_id is not null
    group by spans.call_id
),

placed as (
    select
        facts.* exclude (conversation_id, conversation_source, started_at, duration_ms, billed_cost_usd),
        sums.attempts,
        sums.started_at,
        epoch_us(sums.ended_at - sums.started_at) / 1000.0 as duration_ms,
        if(sums.is_unpriced, null, sums.computed_cost_usd) as computed_cost_usd,
        sums.billed_cost_usd,
        sums.at_latest_price,
        coalesce(facts.conversation_id, chains.conversation_id, facts.call_id) as conversation_id,
        case
            when facts.conversation_id is not null then facts.conversation_source
            when chains.conversation_id is not null then 'chain'
            else 'call'
        end as conversation_source
    from last_attempts as facts
    inner join sums on facts.call_id = sums.call_id
    left join chains on facts.call_id = chains.call_id
)

select
    call_id,
    trace_id,
    source,
    conversation_id,
    conversation_source,
    greatest(sum(if(continues_turn, 0, 1)) over in_order - 1, 0)::bigint as turn_index,
    provider,
    surface,
    operation,
    request_model,
    response_model,
    started_at,
    duration_ms,
    first_chunk_ms,
    is_stream,
    status_code,
    error_type,
    finish_reasons,
    attempts,
    response_id,
    request_id,
    identifiers,
    input_tokens,
    output_tokens,
    cache_read_tokens,
    cache_write_tokens,
    cache_write_by_ttl,
    reasoning_tokens,
    service_tier,
    case
        when previous_response_id is not null or conversation_source = 'provider' then 'server_state'
        when cache_read_tokens > 0 or cache_write_tokens > 0 then 'prompt_cache'
        when message_count > 1 then 'full_history'
        when message_count = 1 then 'single'
    end as strategy,
    computed_cost_usd,
    billed_cost_usd,
    coalesce(billed_cost_usd, computed_cost_usd) as cost_usd,
    case
        when billed_cost_usd is not null then 'billed'
        when computed_cost_usd is null then null
        when at_latest_price then 'computed_at_latest_price'
        else 'computed'
    end as cost_source,
    raw_usage,
    raw_metadata,
    previous_response_id,
    user_id,
    tags,
    observation,
    usage_details,
    usage_problems,
    message_count,
    server_address,
    content
from placed
window in_order as (partition by conversation_id order by started_at nulls last, call_id)
