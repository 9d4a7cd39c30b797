-- billed_usage: one row per kind of call whose responses say what it cost: the sums that effective_prices is fitted from.
-- A kind is a provider, model, upstream and tier at one list price. Calls with fees beside their tokens, or with audio, images
-- or video, are left out: a bill says only the sum. Bills are counted in 10^-12 USD, so that every sum is a whole number.
-- products: sums of products of the buckets (fresh input, output, cache reads, cache writes, reasoning that has a price of
-- its own, requests that have one), pair by pair; with_bills: of each with the bills; list_usd: what each cost by the list.
with billed as (
    select
        span_id,
        started_at,
        card,
        rate_from,
        over_input_tokens,
        has_rate,
        len(missing) = 0 and least(own_input, own_output, own_read, own_write) >= 0 as has_list,
        price_source,
        (billed_cost_usd * 1000000000000)::hugeint as bill,
        billed_cost_usd,
        (input - cache_read - cache_write)::hugeint as fresh,
        (output - own_reasoning)::hugeint as output,
        cache_read::hugeint as cache_read,
        cache_write::hugeint as cache_write,
        own_reasoning::hugeint as reasoning,
        if(request_usd is null, 0, 1)::hugeint as request,
        [
            fresh::decimal(15, 0) * input_usd,
            output::decimal(15, 0) * output_usd,
            cache_read * coalesce(cache_read_usd, input_usd),
            (cache_write - own_write - own_ttl_write) * coalesce(input_usd, 0)
                + own_write * coalesce(cache_write_usd, 0)
                + coalesce(list_sum(list_transform(
                    map_entries(cache_write_by_ttl), lambda item: item.value::decimal(15, 0) * ttl_usd[item.key]
                )), 0),
            own_reasoning * reasoning_usd,
            request_usd
        ]::decimal(38, 18)[] as amounts
    from attempt_buckets
    where billed_cost_usd > 0
        and billed = 'as reported'
        and not is_estimated
        and greatest(input_audio, output_audio, input_image, output_image, input_video, output_video) = 0
        and coalesce(len(list_filter(
            details, lambda item: other_usd[item.key] > 0 or list_contains(missing, item.key)
        )), 0) = 0
        and least(fresh, output, cache_read, cache_write) >= 0
        and fresh + output + reasoning is not null -- out of range
)

select
    spans.provider,
    coalesce(spans.response_model, spans.request_model) as model,
    spans.billing['upstream'] as upstream_provider,
    spans.service_tier,
    bool_and(has_rate and has_list) as has_list,
    any_value(price_source) as price_source,
    min(billed.started_at) as first_at,
    max(billed.started_at) as last_at,
    count(*) as calls,
    count(distinct (fresh, output, cache_read, cache_write)) as kinds_of_usage,
    sum(billed.billed_cost_usd)::decimal(38, 18) as billed_cost_usd,
    sum(bill * bill) as square,
    [
        sum(fresh * fresh),
        sum(fresh * output),
        sum(fresh * cache_read),
        sum(fresh * cache_write),
        sum(fresh * reasoning),
        sum(fresh * request),
        sum(output * output),
        sum(output * cache_read),
        sum(output * cache_write),
        sum(output * reasoning),
        sum(output * request),
        sum(cache_read * cache_read),
        sum(cache_read * cache_write),
        sum(cache_read * reasoning),
        sum(cache_read * request),
        sum(cache_write * cache_write),
        sum(cache_write * reasoning),
        sum(cache_write * request),
        sum(reasoning * reasoning),
        sum(reasoning * request),
        sum(request * request)
    ] as products,
    [sum(fresh * bill), sum(output * bill), sum(cache_read * bill), sum(cache_write * bill), sum(reasoning * bill), sum(request * bill)] as with_bills,
    [sum(fresh), sum(output), sum(cache_read), sum(cache_write), sum(reasoning), sum(request)] as counts,
    [sum(amounts[1]), sum(amounts[2]), sum(amounts[3]), sum(amounts[4]), sum(amounts[5]), sum(amounts[6])]::decimal(38, 18)[] as list_usd
from billed
inner join spans on billed.span_id = spans.span_id
where model is not null
group by spans.provider, model, upstream_provider, spans.service_tier, card, rate_from, over_input_tokens
