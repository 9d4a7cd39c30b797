-- daily_spend: one row per UTC day, provider and model; USD. day is NULL for recordings of unknown time.
select
    calls.started_at::date as day,
    calls.provider,
    coalesce(calls.response_model, calls.request_model) as model,
    count(*) as calls,
    try_cast(sum(calls.input_tokens) as bigint) as input_tokens,
    try_cast(sum(calls.output_tokens) as bigint) as output_tokens,
    try_cast(sum(calls.cache_read_tokens) as bigint) as cache_read_tokens,
    sum(calls.cost_usd) as cost_usd,
    count(calls.unpriced_reason) as unpriced_calls
from call_costs as calls
group by all
