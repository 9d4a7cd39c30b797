-- attempt_costs: one row per HTTP attempt that counted something; USD, exact. computed_cost_usd is NULL where
-- unpriced_reason says why; priced_part_usd is then what of it has a price, and missing_prices names what has none.
-- read_usd, write_usd, fresh_usd (the rest of the input, searches and fees) and answer_usd add up to it.
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
from attempt_buckets
