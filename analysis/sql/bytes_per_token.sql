-- bytes_per_token: one row per provider and model asked for, and one per provider (model NULL): bytes of text a token, as far as
-- this ledger tells. The median over complete calls, at least 20 of them, NULL where there are fewer; basis says it in words.
-- A call's input or answer counts if it has 400 bytes, for in less the frame around the words outweighs them; and if all its
-- text is known: no media, no state that the provider keeps, no reasoning is in it.
with rated as (
    select
        spans.provider,
        spans.request_model as model,
        spans.output_tokens - coalesce(spans.reasoning_tokens, 0) as answer_tokens,
        if(
            spans.input_tokens > 0 and sizes.input_bytes >= 400 and sizes.input_media = 0 and not sizes.has_state,
            sizes.input_bytes::double / spans.input_tokens, null
        ) as input_rate,
        if(answer_tokens > 0 and sizes.answer_bytes >= 400, sizes.answer_bytes::double / answer_tokens, null) as answer_rate
    from spans
    inner join outcomes on spans.span_id = outcomes.span_id
    inner join attempt_sizes as sizes on spans.span_id = sizes.span_id
    where outcomes.outcome = 'complete' and spans.finish_reasons is not null and spans.provider is not null
),

medians as (
    select
        provider,
        model,
        if(count(input_rate) >= 20, median(input_rate), null) as input_rate,
        if(count(answer_rate) >= 20, median(answer_rate), null) as answer_rate,
        count(input_rate) as input_calls,
        count(answer_rate) as answer_calls,
        if(grouping(model) = 1, ' calls to this provider', ' calls of this model') as whose
    from rated
    group by grouping sets ((provider, model), (provider))
    having grouping(model) = 1 or model is not null
)

select
    provider,
    model,
    input_rate,
    if(input_rate is null, null, concat(round(input_rate, 2), ' a token, the median of ', input_calls, whose)) as input_basis,
    answer_rate,
    if(answer_rate is null, null, concat(round(answer_rate, 2), ' a token, the median of ', answer_calls, whose))
        as answer_basis
from medians
