-- call_costs: one row per provider call: what it belongs to, what it used, what it costs; money is USD, times are UTC.
-- A table, made when the ledger is opened, of all that sums and lists are made of; calls has it with the raw metadata.
-- Facts are the last attempt's; time runs from the first attempt's start to the last one's end; cost is summed over attempts.
-- cost_usd is the bill, else the computation; cost_source says which: billed, computed, computed_at_latest_price (of unknown
-- time), estimated (usage or price), unbilled (it costs nothing: 0), billed_elsewhere (billed_call_id is the bill, so NULL
-- here), partially_priced and NULL (no cost; unpriced_reason says why).
with attempted as (
    select
        spans.call_id,
        costs.computed_cost_usd,
        costs.priced_part_usd,
        costs.missing_prices,
        costs.unpriced_reason,
        costs.at_latest_price,
        costs.is_estimate,
        costs.price_source,
        not coalesce(outcomes.is_billed, true) as is_unbilled,
        spans.billed_cost_usd::decimal(38, 18) as billed_cost_usd
    from spans
    left join attempt_costs as costs on spans.span_id = costs.span_id
    left join outcomes on spans.span_id = outcomes.span_id
    where spans.call_id is not null
),

-- most calls have one attempt, and need no sum
sums as (
    select * from attempted where call_id not in (select call_id from call_keys where attempts > 1)
    union all
    select
        call_id,
        sum(computed_cost_usd),
        sum(priced_part_usd),
        flatten(list(missing_prices) filter (where missing_prices is not null)),
        any_value(unpriced_reason),
        bool_or(at_latest_price),
        bool_or(is_estimate),
        any_value(price_source),
        bool_and(is_unbilled),
        sum(billed_cost_usd)::decimal(38, 18)
    from attempted
    where call_id in (select call_id from call_keys where attempts > 1)
    group by call_id
),

costed as (
    select
        sums.* exclude (computed_cost_usd, priced_part_usd, missing_prices),
        if(unpriced_reason is null, coalesce(computed_cost_usd, if(is_unbilled, 0, null)), null)::decimal(38, 18)
            as computed_cost_usd,
        if(len(missing_prices) > 0, priced_part_usd, null)::decimal(38, 18) as priced_part_usd,
        if(len(missing_prices) > 0, list_sort(list_distinct(missing_prices)), null) as missing_prices
    from sums
)

select
    facts.call_id,
    facts.span_id,
    coalesce(threads.conversation_id, facts.call_id) as conversation_id,
    coalesce(threads.conversation_source, 'call') as conversation_source,
    threads.confidence as conversation_confidence,
    coalesce(places.place, 1) as place,
    coalesce(places.turn_index, 0) as turn_index,
    facts.provider,
    facts.surface,
    facts.operation,
    facts.request_model,
    facts.response_model,
    call_keys.begun_at as started_at,
    epoch_us(call_keys.over_at - call_keys.begun_at) / 1000.0 as duration_ms,
    facts.first_chunk_ms,
    facts.status_code,
    facts.error_type,
    facts.finish_reasons,
    call_keys.attempts,
    facts.input_tokens,
    facts.output_tokens,
    facts.cache_read_tokens,
    facts.cache_write_tokens,
    facts.reasoning_tokens,
    facts.service_tier,
    facts.billing['upstream'] as upstream_provider,
    coalesce(facts.managed_strategy, strategies.strategy) as strategy,
    strategies.strategy_detail,
    strategies.caching,
    facts.user_id,
    facts.tags,
    facts.observation,
    facts.asks_tools,
    links.parent_call_id,
    costed.computed_cost_usd,
    costed.billed_cost_usd,
    if(duplicates.call_id is null, coalesce(costed.billed_cost_usd, costed.computed_cost_usd), null) as cost_usd,
    case
        when duplicates.call_id is not null then 'billed_elsewhere'
        when costed.billed_cost_usd is not null then 'billed'
        when len(costed.missing_prices) > 0 then 'partially_priced'
        when costed.computed_cost_usd is null then null
        when costed.is_unbilled then 'unbilled'
        when costed.is_estimate then 'estimated'
        when costed.at_latest_price then 'computed_at_latest_price'
        else 'computed'
    end as cost_source,
    costed.priced_part_usd,
    costed.missing_prices,
    costed.price_source,
    duplicates.billed_call_id,
    -- failed calls without usage are not missed: nothing says that they were billed
    if(
        cost_usd is null and duplicates.call_id is null
        and (facts.input_tokens is not null or coalesce(facts.status_code, 0) < 400),
        coalesce(costed.unpriced_reason, 'no usage reported'), null
    ) as unpriced_reason
from spans as facts
inner join call_keys on facts.span_id = call_keys.span_id and facts.call_id = call_keys.call_id
inner join costed on facts.call_id = costed.call_id
left join threads on facts.call_id = threads.call_id
left join continuations as links on facts.call_id = links.call_id
left join places on facts.call_id = places.call_id
left join strategies on facts.call_id = strategies.call_id
left join duplicates on facts.call_id = duplicates.call_id
