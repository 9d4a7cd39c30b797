-- attempt_usage: one row per HTTP attempt with usage; tokens as exact decimals, and the entry of the price book they fall under.
-- A count that was not reported is 0 here: it is a part of a total that was. NULL: beyond what can be multiplied exactly.
select
    spans.span_id,
    spans.call_id,
    spans.started_at,
    coalesce(spans.started_at, now()) as priced_at,
    matches.price_provider,
    matches.book_model,
    matches.price_tier,
    matches.unmatched_reason,
    spans.finish_reasons is null and spans.error_type is not null as is_cut_off,
    spans.output_tokens is null and spans.operation <> 'embeddings' as lacks_output,
    -- billed beside the totals, some of it at another model's price
    coalesce(list_bool_or(list_transform(
        map_entries(spans.usage_details), lambda entry: starts_with(entry.key, 'beside_') and entry.value > 0
    )), false) as has_more,
    spans.input_tokens,
    -- some bill other counts than they processed, and say so: whatever the cache saved has been taken out of them
    spans.usage_details['billed_input_tokens'] is not null as says_billed,
    try_cast(coalesce(spans.usage_details['billed_input_tokens'], spans.input_tokens) as decimal(15, 0)) as input,
    try_cast(
        coalesce(spans.usage_details['billed_output_tokens'], spans.output_tokens, 0) as decimal(15, 0)
    ) as output,
    try_cast(if(says_billed, 0, coalesce(spans.cache_read_tokens, 0)) as decimal(15, 0)) as cache_read,
    try_cast(coalesce(spans.cache_write_tokens, 0) as decimal(15, 0)) as cache_write,
    try_cast(coalesce(spans.cache_write_by_ttl['5m'], 0) as decimal(15, 0)) as cache_write_5m,
    try_cast(coalesce(spans.cache_write_by_ttl['1h'], 0) as decimal(15, 0)) as cache_write_1h,
    try_cast(coalesce(spans.reasoning_tokens, 0) as decimal(15, 0)) as reasoning,
    try_cast(coalesce(spans.usage_details['input_audio_tokens'], 0) as decimal(15, 0)) as input_audio,
    try_cast(coalesce(spans.usage_details['cache_read_audio_tokens'], 0) as decimal(15, 0)) as cached_audio,
    try_cast(coalesce(spans.usage_details['output_audio_tokens'], 0) as decimal(15, 0)) as output_audio,
    try_cast(coalesce(spans.usage_details['input_image_tokens'], 0) as decimal(15, 0)) as input_image,
    try_cast(coalesce(spans.usage_details['cache_read_image_tokens'], 0) as decimal(15, 0)) as cached_image,
    try_cast(coalesce(spans.usage_details['output_image_tokens'], 0) as decimal(15, 0)) as output_image,
    try_cast(coalesce(spans.usage_details['input_video_tokens'], 0) as decimal(15, 0)) as input_video,
    try_cast(coalesce(spans.usage_details['output_video_tokens'], 0) as decimal(15, 0)) as output_video,
    try_cast(coalesce(spans.usage_details['web_search_requests'], 0) as decimal(15, 0)) as web_searches
from spans
inner join price_matches as matches
    on spans.provider is not distinct from matches.provider
    and spans.surface is not distinct from matches.surface
    and spans.request_model is not distinct from matches.request_model
    and spans.response_model is not distinct from matches.response_model
    and spans.service_tier is not distinct from matches.service_tier
where spans.call_id is not null
    and spans.input_tokens is not null
