-- attempt_costs: one row per HTTP attempt that counted something; USD, exact. computed_cost_usd is NULL where
-- unpriced_reason says why; priced_part_usd is then what of it has a price, and missing_prices names what has none.
-- A part of the usage (cache reads, audio ...) that has a price of its own is taken out of its total and billed at that
-- price; one without stays in the total and is billed as its total is. What is in two parts (cached audio) is billed once,
-- as cached. read_usd, write_usd, fresh_usd (the rest of the input, searches and fees) and answer_usd add up to it.
with rated as (
    select
        used.*,
        rates.* exclude (card, valid_from, valid_to),
        rates.card is not null as has_rate,
        coalesce(cache_read_usd, cache_audio_read_usd, cache_image_read_usd) is not null as has_read_price,
        if(cache_audio_read_usd is null, 0, cached_audio) as own_cached_audio,
        if(cache_image_read_usd is null, 0, cached_image) as own_cached_image,
        if(cache_read_usd is null, 0, cache_read - own_cached_audio - own_cached_image) as own_read,
        coalesce(list_sum(list_transform(
            map_entries(used.cache_write_by_ttl), lambda item: if(ttl_usd[item.key] is null, 0, item.value)
        )), 0)::decimal(15, 0) as own_ttl_write,
        if(cache_write_usd is null, 0, cache_write - own_ttl_write) as own_write,
        if(input_audio_usd is null, 0, input_audio - if(has_read_price, cached_audio, 0)) as own_input_audio,
        if(input_image_usd is null, 0, input_image - if(has_read_price, cached_image, 0)) as own_input_image,
        if(input_video_usd is null, 0, input_video) as own_input_video,
        if(reasoning_usd is null, 0, reasoning) as own_reasoning,
        if(output_audio_usd is null, 0, output_audio) as own_output_audio,
        if(output_image_usd is null, 0, output_image) as own_output_image,
        if(output_video_usd is null, 0, output_video) as own_output_video,
        input - own_read - own_cached_audio - own_cached_image - own_ttl_write - own_write
            - own_input_audio - own_input_image - own_input_video as own_input,
        output - own_reasoning - own_output_audio - own_output_image - own_output_video as own_output,
        list_filter(map_entries(used.usage_details), lambda item: item.value > 0) as details,
        list_concat(
            list_filter(
                [
                    if(input_usd is null and own_input > 0, 'input_tokens', null),
                    if(output_usd is null and own_output > 0, 'output_tokens', null)
                ],
                lambda name: name is not null
            ),
            -- counted beside the tokens, and billed beside them
            list_transform(
                list_filter(details, lambda item: other_usd[item.key] is null and (
                    starts_with(item.key, 'beside_') or item.key in (
                        'web_search_requests', 'web_plugin_results', 'x_search_requests', 'map_search_requests',
                        'file_search_calls', 'code_interpreter_calls', 'tool_calls_executed', 'tool_invocations',
                        'search_queries', 'connector_calls', 'parsed_files', 'generated_images'
                    )
                )),
                lambda item: item.key
            )
        ) as missing
    from attempt_usage as used
    left join rates
        on used.card = rates.card
        and used.priced_at >= rates.valid_from
        and used.priced_at < rates.valid_to
        and epoch(used.priced_at) % 86400 >= rates.day_second_from
        and epoch(used.priced_at) % 86400 < rates.day_second_to
        and used.input_tokens > rates.over_input_tokens
        and used.input_tokens <= rates.up_to_input_tokens
)

select
    span_id,
    call_id,
    case
        when billed = 'nothing' then null
        when billed is null then 'what of it is billed is not known'
        when billed <> 'as reported' and not is_estimated then 'ended before its usage was complete'
        when card is null then unmatched_reason
        when lacks_output then 'output tokens not reported'
        when not has_rate then unmatched_reason
        when own_input is null or own_output is null or own_write is null then 'usage out of range'
        when least(own_input, own_output, own_read, own_write, own_input_audio, own_input_image) < 0
            then 'contradictory usage'
        when len(missing) > 0 then concat('no price for ', array_to_string(missing, ', '))
    end as unpriced_reason,
    if(has_rate and starts_with(unpriced_reason, 'no price for '), missing, null) as missing_prices,
    (
        own_read * coalesce(cache_read_usd, 0)
        + own_cached_audio * coalesce(cache_audio_read_usd, 0)
        + own_cached_image * coalesce(cache_image_read_usd, 0)
    )::decimal(38, 18) as read_usd,
    (
        own_write * coalesce(cache_write_usd, 0)
        + coalesce(list_sum(list_transform(
            map_entries(cache_write_by_ttl), lambda item: item.value::decimal(15, 0) * ttl_usd[item.key]
        )), 0)
    )::decimal(38, 18) as write_usd,
    (
        coalesce(request_usd, 0)
        + own_input * coalesce(input_usd, 0)
        + own_input_audio * coalesce(input_audio_usd, 0)
        + own_input_image * coalesce(input_image_usd, 0)
        + own_input_video * coalesce(input_video_usd, 0)
        + coalesce(list_sum(list_transform(
            details, lambda item: try_cast(item.value as decimal(15, 0)) * other_usd[item.key]
        )), 0)
    )::decimal(38, 18) as fresh_usd,
    (
        own_output * coalesce(output_usd, 0)
        + own_reasoning * coalesce(reasoning_usd, 0)
        + own_output_audio * coalesce(output_audio_usd, 0)
        + own_output_image * coalesce(output_image_usd, 0)
        + own_output_video * coalesce(output_video_usd, 0)
    )::decimal(38, 18) as answer_usd,
    if(missing_prices is null and unpriced_reason is not null, null, read_usd + write_usd + fresh_usd + answer_usd)
        ::decimal(38, 18) as priced_part_usd,
    if(billed = 'nothing', 0, if(unpriced_reason is null, priced_part_usd, null))::decimal(38, 18) as computed_cost_usd,
    started_at is null as at_latest_price,
    is_estimated or coalesce(is_estimate, false) as is_estimate,
    price_source
from rated
