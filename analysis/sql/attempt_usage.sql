-- attempt_usage: one row per HTTP attempt that counted something; exact decimals, and the rate card it falls under.
-- A count that was not reported is 0 here: it is a part of a total that was. NULL: beyond what can be multiplied exactly.
with said as (
    select
        spans.* exclude (usage_details),
        if(kept.token_seconds is null, spans.usage_details, map_concat(
            spans.usage_details, map {'cache_storage_token_seconds': kept.token_seconds}
        )) as usage_details,
        -- the names that decide the price, as price_matches has them
        nullif(array_to_string(list_sort(list_transform(
            map_entries(spans.billing), lambda entry: concat(entry.key, '=', entry.value)
        )), chr(10)), '') as billing_text,
        outcomes.billed,
        estimates.span_id is not null as is_estimated,
        coalesce(estimates.input_tokens, spans.input_tokens) as whole_input,
        coalesce(estimates.output_tokens, spans.output_tokens) as whole_output
    from spans
    left join outcomes on spans.span_id = outcomes.span_id
    left join estimates on spans.span_id = estimates.span_id
    left join kept_caches as kept on spans.span_id = kept.span_id
    where spans.call_id is not null
        and (
            spans.input_tokens is not null or spans.output_tokens is not null or estimates.span_id is not null
            or cardinality(spans.usage_details) > 0
        )
)

select
    said.span_id,
    said.call_id,
    said.started_at,
    coalesce(said.started_at, now()) as priced_at,
    matches.card,
    matches.unmatched_reason,
    said.billed,
    said.is_estimated,
    said.whole_input is not null and said.whole_output is null and said.operation not in ('embeddings', 'create_cache')
        as lacks_output,
    said.billed_cost_usd,
    coalesce(said.whole_input, 0) as input_tokens,
    said.usage_details,
    said.cache_write_by_ttl,
    -- some bill other counts than they processed, and say so: whatever the cache saved has been taken out of them
    said.usage_details['billed_input_tokens'] is not null as says_billed,
    try_cast(coalesce(said.usage_details['billed_input_tokens'], said.whole_input, 0) as decimal(15, 0)) as input,
    try_cast(
        coalesce(said.usage_details['billed_output_tokens'], said.whole_output, 0) as decimal(15, 0)
    ) as output,
    try_cast(if(says_billed, 0, coalesce(said.cache_read_tokens, 0)) as decimal(15, 0)) as cache_read,
    try_cast(coalesce(said.cache_write_tokens, 0) as decimal(15, 0)) as cache_write,
    try_cast(coalesce(said.reasoning_tokens, 0) as decimal(15, 0)) as reasoning,
    try_cast(coalesce(said.usage_details['input_audio_tokens'], 0) as decimal(15, 0)) as input_audio,
    try_cast(coalesce(said.usage_details['cache_read_audio_tokens'], 0) as decimal(15, 0)) as cached_audio,
    try_cast(coalesce(said.usage_details['output_audio_tokens'], 0) as decimal(15, 0)) as output_audio,
    try_cast(coalesce(said.usage_details['input_image_tokens'], 0) as decimal(15, 0)) as input_image,
    try_cast(coalesce(said.usage_details['cache_read_image_tokens'], 0) as decimal(15, 0)) as cached_image,
    try_cast(coalesce(said.usage_details['output_image_tokens'], 0) as decimal(15, 0)) as output_image,
    try_cast(coalesce(said.usage_details['input_video_tokens'], 0) as decimal(15, 0)) as input_video,
    try_cast(coalesce(said.usage_details['output_video_tokens'], 0) as decimal(15, 0)) as output_video
from said
inner join price_matches as matches
    on said.provider is not distinct from matches.provider
    and said.surface is not distinct from matches.surface
    and said.request_model is not distinct from matches.request_model
    and said.response_model is not distinct from matches.response_model
    and said.service_tier is not distinct from matches.service_tier
    and said.server_address is not distinct from matches.server_address
    and said.billing_text is not distinct from matches.billing
