-- attempt_costs: one row per HTTP attempt with usage; USD, exact.
-- Every priced bucket is billed for what its own priced parts leave of it; a part without a price of its own is billed as
-- its parent. computed_cost_usd is NULL where unpriced_reason says why.
with attempts_with_usage as (
    select
        spans.*,
        coalesce(spans.started_at, now()) as priced_at,
        nullif(lower(spans.service_tier), '') as tier,
        model_matches.price_provider,
        model_matches.book_model
    from spans
    left join model_matches
        on spans.provider = model_matches.provider
        and spans.request_model is not distinct from model_matches.request_model
        and spans.response_model is not distinct from model_matches.response_model
    where spans.call_id is not null
        and spans.input_tokens is not null
),

rated as (
    select
        used.span_id,
        used.call_id,
        used.started_at,
        used.tier,
        used.book_model,
        rates.* exclude (price_provider, book_model),
        rates.book_model is not null as has_rate,
        try_cast(used.input_tokens as decimal(15, 0)) as input,
        try_cast(coalesce(used.output_tokens, 0) as decimal(15, 0)) as output,
        try_cast(coalesce(used.cache_read_tokens, 0) as decimal(15, 0)) as cache_read,
        try_cast(coalesce(used.cache_write_tokens, 0) as decimal(15, 0)) as cache_write,
        try_cast(coalesce(used.cache_write_by_ttl['5m'], 0) as decimal(15, 0)) as write_5m,
        try_cast(coalesce(used.cache_write_by_ttl['1h'], 0) as decimal(15, 0)) as write_1h,
        try_cast(coalesce(used.reasoning_tokens, 0) as decimal(15, 0)) as reasoning,
        try_cast(coalesce(used.usage_details['input_audio_tokens'], 0) as decimal(15, 0)) as input_audio,
        try_cast(coalesce(used.usage_details['output_audio_tokens'], 0) as decimal(15, 0)) as output_audio,
        try_cast(coalesce(used.usage_details['input_image_tokens'], 0) as decimal(15, 0)) as input_image,
        try_cast(coalesce(used.usage_details['output_image_tokens'], 0) as decimal(15, 0)) as output_image,
        try_cast(coalesce(used.usage_details['web_search_requests'], 0) as decimal(15, 0)) as web_searches
    from attempts_with_usage as used
    left join rates
        on used.price_provider = rates.price_provider
        and used.book_model = rates.book_model
        and rates.service_tier is not distinct from (
            case when used.tier in ('default', 'standard', 'auto') then null else used.tier end
        )
        and used.priced_at >= rates.valid_from
        and used.priced_at < rates.valid_to
        and used.priced_at::time >= rates.time_from
        and used.priced_at::time < rates.time_to
        and used.input_tokens > rates.over_input_tokens
        and used.input_tokens <= rates.up_to_input_tokens
),

exclusive as (
    select
        *,
        input
        - if(p_cache_read is null, 0, cache_read)
        - if(p_cache_write is null and p_cache_write_5m is null and p_cache_write_1h is null, 0,
            if(p_cache_write is null, 0, cache_write)
            + if(p_cache_write is null and p_cache_write_5m is not null, write_5m, 0)
            + if(p_cache_write is null and p_cache_write_1h is not null, write_1h, 0))
        - if(p_input_audio is null, 0, input_audio)
        - if(p_input_image is null, 0, input_image) as plain_input,
        cache_write
        - if(p_cache_write_5m is null, 0, write_5m)
        - if(p_cache_write_1h is null, 0, write_1h) as plain_write,
        output
        - if(p_reasoning is null, 0, reasoning)
        - if(p_output_audio is null, 0, output_audio)
        - if(p_output_image is null, 0, output_image) as plain_output
    from rated
)

select
    span_id,
    call_id,
    case
        when book_model is null then 'unknown model'
        when not has_rate then concat('no price for service tier ', tier)
        when plain_input is null or output is null then 'usage out of range'
        when plain_input < 0 or plain_write < 0 or plain_output < 0 then 'contradictory usage'
        when p_input is null and plain_input > 0 then 'no price for input tokens'
        when p_output is null and plain_output > 0 then 'no price for output tokens'
        when p_web_search is null and web_searches > 0 then 'no price for web searches'
    end as unpriced_reason,
    if(unpriced_reason is null,
        coalesce(p_request, 0)
        + plain_input * coalesce(p_input, 0)
        + cache_read * coalesce(p_cache_read, 0)
        + plain_write * coalesce(p_cache_write, 0)
        + write_5m * coalesce(p_cache_write_5m, 0)
        + write_1h * coalesce(p_cache_write_1h, 0)
        + input_audio * coalesce(p_input_audio, 0)
        + input_image * coalesce(p_input_image, 0)
        + plain_output * coalesce(p_output, 0)
        + reasoning * coalesce(p_reasoning, 0)
        + output_audio * coalesce(p_output_audio, 0)
        + output_image * coalesce(p_output_image, 0)
        + web_searches * coalesce(p_web_search, 0),
        null)::decimal(38, 15) as computed_cost_usd,
    started_at is null as at_latest_price
from exclusive
