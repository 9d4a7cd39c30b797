-- conversations: one row per conversation; tokens are inclusive sums, money is USD, times are UTC.
-- cost_usd sums the calls that have a cost; unpriced_calls says how many have none. strategy is the one that says most of
-- its calls'. threads counts calls that continue none of the others, branches those that continue what another call had
-- continued already. confidence is the least of its calls', NULL where that is unknown.
-- What was paid for sending earlier messages again, for what was new, for answers, and by calls whose messages are unknown
-- (cost_of_history_usd, cost_of_new_usd, cost_of_answers_usd, cost_unattributed_usd) add up to cost_usd.
with paid as (
    select
        call_id,
        try_cast(sum(tokens) filter (where is_resent) as bigint) as history_tokens,
        coalesce(sum(cost_usd) filter (where is_resent), 0) as history_usd,
        coalesce(sum(cost_usd) filter (where is_answer), 0) as answers_usd
    from message_shares
    group by call_id
),

tracked as (
    select
        calls.*,
        spans.identifiers,
        coalesce(calls.response_model, calls.request_model) as model,
        -- a call that sent nothing again has no row of what it sent again, and paid nothing for it
        if(paid.call_id is null or calls.input_tokens is null, null, coalesce(paid.history_tokens, 0)) as history_tokens,
        if(paid.call_id is null or calls.cost_usd is null, null, paid.history_usd) as history_cost_usd,
        if(paid.call_id is null or calls.cost_usd is null, null, paid.answers_usd) as answers_cost_usd,
        sum(calls.cost_usd) over (
            partition by calls.conversation_id order by calls.place rows unbounded preceding
        ) as running_cost_usd
    from call_costs as calls
    inner join spans on calls.span_id = spans.span_id and calls.call_id = spans.call_id
    left join paid on calls.call_id = paid.call_id
)

select
    conversation_id,
    min(conversation_source) as conversation_source,
    list(distinct provider order by provider) as providers,
    list(distinct model order by model)
        filter (where model is not null) as models,
    min(user_id) as user_id,
    count(*) as calls,
    max(turn_index) + 1 as turns,
    min(conversation_confidence) as confidence,
    arg_max(strategy, list_position(
        ['single_turn', 'full_history', 'cached_history', 'sliding_window', 'summary', 'summarised', 'sdk_session',
            'server_state'],
        strategy
    )) as strategy,
    case
        when bool_or(caching = 'explicit') then 'explicit'
        when bool_or(caching = 'implicit') then 'implicit'
        when bool_or(caching = 'absent') then 'absent'
    end as caching,
    count(*) - count(parent_call_id) as threads,
    greatest(count(parent_call_id) - count(distinct parent_call_id), 0) as branches,
    min(started_at) as started_at,
    max(started_at) as last_started_at,
    try_cast(sum(input_tokens) as bigint) as input_tokens,
    try_cast(sum(output_tokens) as bigint) as output_tokens,
    try_cast(sum(cache_read_tokens) as bigint) as cache_read_tokens,
    try_cast(sum(cache_write_tokens) as bigint) as cache_write_tokens,
    try_cast(sum(reasoning_tokens) as bigint) as reasoning_tokens,
    sum(cost_usd) as cost_usd,
    sum(billed_cost_usd) as billed_cost_usd,
    count(unpriced_reason) as unpriced_calls,
    count(*) filter (where error_type is not null) as failed_calls,
    struct_pack(
        surfaces := list(distinct surface order by surface),
        service_tiers := list(distinct service_tier order by service_tier) filter (where service_tier is not null),
        finish_reasons := list_sort(list_distinct(
            flatten(list(finish_reasons) filter (where finish_reasons is not null))
        ))
    ) as provider_metadata,
    list_sort(list_distinct(
        flatten(flatten(list(map_values(identifiers)) filter (where identifiers is not null)))
    )) as extracted_identifiers,
    list(
        struct_pack(
            call_id := call_id, started_at := started_at, input_tokens := input_tokens, output_tokens := output_tokens,
            cache_read_tokens := cache_read_tokens, cache_write_tokens := cache_write_tokens,
            turn_index := turn_index, model := model, history_tokens := history_tokens
        )
        order by place
    ) as token_usage_history,
    list(
        struct_pack(
            call_id := call_id, cost_usd := cost_usd, cost_source := cost_source, turn_index := turn_index, model := model,
            history_tokens := history_tokens, history_cost_usd := history_cost_usd, running_cost_usd := running_cost_usd
        )
        order by place
    ) as cost_tracking,
    if(sum(cost_usd) is null, null, coalesce(sum(history_cost_usd), 0))::decimal(38, 18) as cost_of_history_usd,
    if(sum(cost_usd) is null, null, coalesce(sum(cost_usd - history_cost_usd - answers_cost_usd), 0))::decimal(38, 18)
        as cost_of_new_usd,
    if(sum(cost_usd) is null, null, coalesce(sum(answers_cost_usd), 0))::decimal(38, 18) as cost_of_answers_usd,
    if(sum(cost_usd) is null, null, coalesce(sum(cost_usd) filter (where history_cost_usd is null), 0))::decimal(38, 18)
        as cost_unattributed_usd
from tracked
group by conversation_id
