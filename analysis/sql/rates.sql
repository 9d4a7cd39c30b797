-- rates: one row per book model, service tier, period, time of day and input-size tier; USD per single unit.
-- The long `prices` relation turned wide, so that a call joins exactly one row. Intervals are half open; the size tier
-- holds for over_input_tokens < input_tokens <= up_to_input_tokens. NULL p_ columns: the book has no such price.
select
    price_provider,
    book_model,
    service_tier,
    valid_from,
    valid_to,
    time_from,
    time_to,
    over_input_tokens,
    up_to_input_tokens,
    max(usd_per_unit) filter (where unit = 'input_mtok') as p_input,
    max(usd_per_unit) filter (where unit = 'output_mtok') as p_output,
    max(usd_per_unit) filter (where unit = 'cache_read_mtok') as p_cache_read,
    max(usd_per_unit) filter (where unit = 'cache_write_mtok') as p_cache_write,
    max(usd_per_unit) filter (where unit = 'cache_write_5m_mtok') as p_cache_write_5m,
    max(usd_per_unit) filter (where unit = 'cache_write_1h_mtok') as p_cache_write_1h,
    max(usd_per_unit) filter (where unit = 'output_reasoning_mtok') as p_reasoning,
    max(usd_per_unit) filter (where unit = 'input_audio_mtok') as p_input_audio,
    max(usd_per_unit) filter (where unit = 'output_audio_mtok') as p_output_audio,
    max(usd_per_unit) filter (where unit = 'input_image_mtok') as p_input_image,
    max(usd_per_unit) filter (where unit = 'output_image_mtok') as p_output_image,
    max(usd_per_unit) filter (where unit = 'web_searches_kcount') as p_web_search,
    max(usd_per_unit) filter (where unit = 'requests_kcount') as p_request
from prices
group by all
