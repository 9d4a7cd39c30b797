-- rates: one row per rate card, period, time of day and input size; USD per single unit.
-- The long `card_prices` relation turned wide, so that an attempt joins exactly one row. Periods are half open; the size
-- holds for over_input_tokens < input_tokens <= up_to_input_tokens. NULL: no such price. ttl_usd: cache writes by lifetime;
-- other_usd: whatever else has a price, by the name of its count.
select
    card,
    valid_from,
    valid_to,
    day_second_from,
    day_second_to,
    over_input_tokens,
    up_to_input_tokens,
    max(usd_per_unit) filter (where unit = 'input_mtok') as input_usd,
    max(usd_per_unit) filter (where unit = 'output_mtok') as output_usd,
    max(usd_per_unit) filter (where unit = 'cache_read_mtok') as cache_read_usd,
    max(usd_per_unit) filter (where unit = 'cache_write_mtok') as cache_write_usd,
    max(usd_per_unit) filter (where unit = 'cache_audio_read_mtok') as cache_audio_read_usd,
    max(usd_per_unit) filter (where unit = 'cache_image_read_mtok') as cache_image_read_usd,
    max(usd_per_unit) filter (where unit = 'output_reasoning_mtok') as reasoning_usd,
    max(usd_per_unit) filter (where unit = 'input_audio_mtok') as input_audio_usd,
    max(usd_per_unit) filter (where unit = 'output_audio_mtok') as output_audio_usd,
    max(usd_per_unit) filter (where unit = 'input_image_mtok') as input_image_usd,
    max(usd_per_unit) filter (where unit = 'output_image_mtok') as output_image_usd,
    max(usd_per_unit) filter (where unit = 'input_video_mtok') as input_video_usd,
    max(usd_per_unit) filter (where unit = 'output_video_mtok') as output_video_usd,
    max(usd_per_unit) filter (where unit = 'requests_kcount') as request_usd,
    map_from_entries(
        list(struct_pack(k := regexp_extract(unit, '^cache_write_(\d+\w)_mtok$', 1), v := usd_per_unit))
            filter (where regexp_matches(unit, '^cache_write_\d+\w_mtok$'))
    ) as ttl_usd,
    map_from_entries(
        list(struct_pack(k := counted, v := usd_per_unit)) filter (where unit not in (
            'input_mtok', 'output_mtok', 'cache_read_mtok', 'cache_write_mtok', 'cache_audio_read_mtok',
            'cache_image_read_mtok', 'output_reasoning_mtok', 'input_audio_mtok', 'output_audio_mtok',
            'input_image_mtok', 'output_image_mtok', 'input_video_mtok', 'output_video_mtok', 'requests_kcount'
        ) and not regexp_matches(unit, '^cache_write_\d+\w_mtok$'))
    ) as other_usd,
    array_to_string(list_sort(list_distinct(list(source))), ', ') as price_source,
    bool_or(is_estimate) as is_estimate
from card_prices
group by all
