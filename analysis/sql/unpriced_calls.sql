-- unpriced_calls: one row per call that has usage or succeeded, yet has no cost; never counted as free.
-- missing_prices and priced_part_usd: of a call priced in part what has no price, and the USD of the rest.
-- Failed calls without usage are not listed: nothing says that they were billed; nor are requests of surfaces that the
-- provider's document says run no model.
select
    calls.call_id,
    calls.source,
    calls.conversation_id,
    calls.provider,
    calls.surface,
    calls.request_model,
    calls.response_model,
    calls.started_at,
    calls.input_tokens,
    calls.output_tokens,
    calls.unpriced_reason as reason,
    calls.missing_prices,
    calls.priced_part_usd
from calls
where calls.unpriced_reason is not null
