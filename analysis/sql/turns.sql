-- turns: one row per turn: a user's input and every call until its answer (tool loops, repeats, sub-agents); tokens are
-- inclusive sums, money is USD, times are UTC. cost_usd sums the calls that have one; unpriced_calls says how many have none.
-- finish_reasons and error_type are the last call's: how the turn ended.
select
    conversation_id,
    turn_index,
    min(conversation_source) as conversation_source,
    count(*) as calls,
    sum(attempts)::bigint as attempts,
    count(*) filter (where error_type is not null) as failed_calls,
    count(*) filter (where asks_tools) as tool_rounds,
    min(started_at) as started_at,
    max(started_at + to_microseconds(coalesce((duration_ms * 1000)::bigint, 0))) as ended_at,
    epoch_us(max(started_at + to_microseconds(coalesce((duration_ms * 1000)::bigint, 0))) - min(started_at)) / 1000.0
        as duration_ms,
    list(call_id order by place) as call_ids,
    list(distinct coalesce(response_model, request_model) order by coalesce(response_model, request_model))
        filter (where coalesce(response_model, request_model) is not null) as models,
    arg_max(finish_reasons, place) as finish_reasons,
    arg_max_null(error_type, place) as error_type,
    try_cast(sum(input_tokens) as bigint) as input_tokens,
    try_cast(sum(output_tokens) as bigint) as output_tokens,
    try_cast(sum(cache_read_tokens) as bigint) as cache_read_tokens,
    try_cast(sum(cache_write_tokens) as bigint) as cache_write_tokens,
    try_cast(sum(reasoning_tokens) as bigint) as reasoning_tokens,
    sum(cost_usd) as cost_usd,
    count(unpriced_reason) as unpriced_calls
from call_costs
group by conversation_id, turn_index
