-- unpriced_calls: one row per call that has usage or succeeded, yet has no cost; never counted as free.
-- Failed calls without usage are not listed: nothing says that they were billed; nor are requests of surfaces that the
-- provider's document says run no model.
select
    calls.call_id,
    calls.source,
    calls.conversation_id,
    calls.provider,
    calls.surface,
    calls.request_model,
    calls.response_model,
    calls.started_at,
    calls.input_tokens,
    calls.output_tokens,
    coalesce(reasons.reason, 'no usage reported') as reason,
    calls.missing_prices,
    calls.priced_part_usd
from calls
left join (
    select call_id, any_value(unpriced_reason) as reason from attempt_costs group by call_id
) as reasons on calls.call_id = reasons.call_id
left join providers on calls.provider = providers.provider
where calls.cost_usd is null
    and (calls.input_tokens is not null or coalesce(calls.status_code, 0) < 400)
    and not coalesce(list_contains(providers.unbilled_surfaces, calls.surface), false)
