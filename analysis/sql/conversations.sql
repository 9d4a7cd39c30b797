-- conversations: one row per conversation; tokens are inclusive sums, money is USD, times are UTC.
-- cost_usd sums the calls that have a cost; unpriced_calls says how many have none. strategy is the one that says most of
-- its calls'. threads counts calls that continue none of the others, branches those that continue what another call had
-- continued already. confidence is the least of its calls', NULL where that is unknown.
select
    conversation_id,
    min(conversation_source) as conversation_source,
    list(distinct provider order by provider) as providers,
    list(distinct coalesce(response_model, request_model) order by coalesce(response_model, request_model))
        filter (where coalesce(response_model, request_model) is not null) as models,
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
    count(*) filter (where call_id in (select call_id from unpriced_calls)) as unpriced_calls,
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
            cache_read_tokens := cache_read_tokens, cache_write_tokens := cache_write_tokens
        )
        order by started_at nulls last, call_id
    ) as token_usage_history,
    list(
        struct_pack(call_id := call_id, cost_usd := cost_usd, cost_source := cost_source)
        order by started_at nulls last, call_id
    ) as cost_tracking
from calls
group by conversation_id
