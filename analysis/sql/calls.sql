-- calls: one row per provider call, made of its attempts; tokens are inclusive buckets, money is USD, times are UTC.
-- Facts are the last attempt's; time runs from the first attempt's start to the last one's end; cost is summed over attempts.
-- conversation_confidence is how sure it is that the call belongs where it is put; NULL is unknown.
with sums as (
    select
        spans.call_id,
        count(*) as attempts,
        min(spans.started_at) as started_at,
        max(spans.ended_at) as ended_at,
        sum(costs.computed_cost_usd) as computed_cost_usd,
        sum(costs.priced_part_usd) as priced_part_usd,
        flatten(list(costs.missing_prices)) as missing_prices,
        bool_or(costs.unpriced_reason is not null) as is_unpriced,
        bool_or(costs.at_latest_price) as at_latest_price,
        bool_or(costs.is_estimate) as is_estimate,
        any_value(costs.price_source) as price_source,
        sum(spans.billed_cost_usd)::decimal(38, 18) as billed_cost_usd
    from spans
    left join attempt_costs as costs on spans.span_id = costs.span_id
    where spans.call_id is not null
    group by spans.call_id
)

select
    facts.call_id,
    facts.trace_id,
    facts.source,
    coalesce(threads.conversation_id, facts.call_id) as conversation_id,
    coalesce(threads.conversation_source, 'call') as conversation_source,
    coalesce(places.turn_index, 0) as turn_index,
    facts.provider,
    facts.surface,
    facts.operation,
    facts.request_model,
    facts.response_model,
    sums.started_at,
    epoch_us(sums.ended_at - sums.started_at) / 1000.0 as duration_ms,
    facts.first_chunk_ms,
    facts.is_stream,
    facts.status_code,
    facts.error_type,
    facts.finish_reasons,
    sums.attempts,
    facts.response_id,
    facts.request_id,
    facts.identifiers,
    facts.input_tokens,
    facts.output_tokens,
    facts.cache_read_tokens,
    facts.cache_write_tokens,
    facts.cache_write_by_ttl,
    facts.reasoning_tokens,
    facts.service_tier,
    coalesce(facts.managed_strategy, strategies.strategy) as strategy,
    if(sums.is_unpriced, null, sums.computed_cost_usd) as computed_cost_usd,
    sums.billed_cost_usd,
    coalesce(sums.billed_cost_usd, if(sums.is_unpriced, null, sums.computed_cost_usd)) as cost_usd,
    case
        when sums.billed_cost_usd is not null then 'billed'
        when len(sums.missing_prices) > 0 then 'partially_priced'
        when sums.is_unpriced or sums.computed_cost_usd is null then null
        when sums.is_estimate then 'estimated'
        when sums.at_latest_price then 'computed_at_latest_price'
        else 'computed'
    end as cost_source,
    facts.raw_usage,
    facts.raw_metadata,
    facts.previous_response_id,
    facts.user_id,
    facts.tags,
    facts.observation,
    facts.usage_details,
    facts.usage_problems,
    facts.message_count,
    facts.server_address,
    facts.content,
    threads.confidence as conversation_confidence,
    links.parent_call_id,
    coalesce(places.place, 1) as place,
    facts.session_id,
    facts.provider_conversation_id,
    strategies.strategy_detail,
    facts.strategy_reason,
    strategies.caching,
    facts.asks_tools,
    facts.billing['upstream'] as upstream_provider,
    facts.billing,
    sums.priced_part_usd,
    sums.missing_prices,
    sums.price_source
from spans as facts
inner join call_keys on facts.span_id = call_keys.span_id and facts.call_id = call_keys.call_id
inner join sums on facts.call_id = sums.call_id
left join threads on facts.call_id = threads.call_id
left join continuations as links on facts.call_id = links.call_id
left join places on facts.call_id = places.call_id
left join strategies on facts.call_id = strategies.call_id
