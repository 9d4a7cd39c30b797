-- unpriced_calls: one row per call that has usage or succeeded, yet has no cost; never counted as free.
-- Failed calls without usage are not listed: nothing says that they were billed.
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
    coalesce(reasons.reason, 'no usage reported') as reason
from calls
left join (
    select call_id, any_value(unpriced_reason) as reason from attempt_costs group by call_id
) as reasons on calls.call_id = reasons.call_id
where calls.cost_usd is null
    and (calls.input_tokens is not null or coalesce(calls.status_code, 0) < 400)
    and calls.operation not in ('create_conversation', 'create_message')
