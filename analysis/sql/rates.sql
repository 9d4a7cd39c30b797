-- rates: one row per book model, tier, period, time of day and input size; USD per single unit.
-- The long `prices` relation turned wide, so that a call joins exactly one row. Periods are half open; the size holds for
-- over_input_tokens < input_tokens <= up_to_input_tokens. NULL: the book has no such price.
select
    price_provider,
    book_model,
    service_tier,
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
    max(usd_per_unit) filter (where unit = 'cache_write_5m_mtok') as cache_write_5m_usd,
    max(usd_per_unit) filter (where unit = 'cache_write_1h_mtok') as cache_write_1h_usd,
    max(usd_per_unit) filter (where unit = 'cache_audio_read_mtok') as cache_audio_read_usd,
    max(usd_per_unit) filter (where unit = 'cache_image_read_mtok') as cache_image_read_usd,
    max(usd_per_unit) filter (where unit = 'output_reasoning_mtok') as reasoning_usd,
    max(usd_per_unit) filter (where unit = 'input_audio_mtok') as input_audio_usd,
    max(usd_per_unit) filter (where unit = 'output_audio_mtok') as output_audio_usd,
    max(usd_per_unit) filter (where unit = 'input_image_mtok') as input_image_usd,
    max(usd_per_unit) filter (where unit = 'output_image_mtok') as output_image_usd,
    max(usd_per_unit) filter (where unit = 'input_video_mtok') as input_video_usd,
    max(usd_per_unit) filter (where unit = 'output_video_mtok') as output_video_usd,
    max(usd_per_unit) filter (where unit = 'web_searches_kcount') as web_search_usd,
    max(usd_per_unit) filter (where unit = 'requests_kcount') as request_usd
from prices
group by all
