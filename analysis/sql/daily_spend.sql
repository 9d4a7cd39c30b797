-- daily_spend: one row per UTC day, provider and model; USD. day is NULL for recordings of unknown time.
select
    calls.started_at::date as day,
    calls.provider,
    coalesce(calls.response_model, calls.request_model) as model,
    count(*) as calls,
    sum(calls.input_tokens)::bigint as input_tokens,
    sum(calls.output_tokens)::bigint as output_tokens,
    sum(calls.cache_read_tokens)::bigint as cache_read_tokens,
    sum(calls.cost_usd) as cost_usd,
    count(unpriced_calls.call_id) as unpriced_calls
from calls
left join unpriced_calls on calls.call_id = unpriced_calls.call_id
group by all
