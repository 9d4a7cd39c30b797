-- attempt_buckets: one row per HTTP attempt that counted something: what of its usage is billed at which price.
-- A part (cache reads, audio ...) that has a price of its own is taken out of its total (own_...); one
-- without stays in the total and is billed as its total is. What is in two parts (cached audio) is billed once, as cached.
-- missing: what is billed and has no price.
select
    used.*,
    rates.* exclude (card, valid_from, valid_to),
    rates.card is not null as has_rate,
    rates.valid_from as rate_from,
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
                    'search_queries', 'connector_calls', 'parsed_files', 'generated_images', 'grounded_prompts',
                    'cache_storage_token_seconds'
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
