-- estimates: one row per HTTP attempt that is billed although its usage is not known, as far as it was seen: one that ended
-- before, or a stream that was not asked for its usage; tokens estimated from that; rule says how. What cannot be estimated has no row: media, a state that only the provider has.
-- Input: as reported; else that of the same request where it was counted; else that of the call before and its answer, and the
-- new messages by their bytes; else all by its bytes. Output: by the bytes of the answer that came, at least what was reported;
-- reasoning that nobody saw is not in it. Bytes a token are measured in this ledger (bytes_per_token), of the model, else of
-- the provider; else they are 4, as providers say of English text.
with seen as (
    select
        spans.span_id,
        spans.call_id,
        spans.provider,
        spans.request_model,
        spans.request_digest,
        spans.system_digest,
        spans.input_tokens,
        spans.output_tokens,
        outcomes.billed,
        sizes.* exclude (span_id, call_id)
    from outcomes
    inner join spans on outcomes.span_id = spans.span_id
    inner join attempt_sizes as sizes on outcomes.span_id = sizes.span_id
    where outcomes.billed in ('input and output so far', 'at least input and output so far')
        or (
            outcomes.outcome = 'complete' and outcomes.billed = 'as reported' and spans.is_stream
            and spans.input_tokens is null and spans.output_tokens is null and sizes.answer_bytes > 0
        )
),

counted as (
    select spans.provider, spans.request_model, spans.request_digest, spans.system_digest, max(spans.input_tokens) as tokens
    from spans
    inner join outcomes on spans.span_id = outcomes.span_id
    where outcomes.outcome = 'complete'
        and spans.previous_response_id is null
        and spans.provider_conversation_id is null
        and spans.request_digest in (select request_digest from seen)
    group by spans.provider, spans.request_model, spans.request_digest, spans.system_digest
),

before as (
    select links.call_id, parents.provider, parents.request_model, parents.system_digest,
        -- sums of any counts there may be
        parents.input_tokens::hugeint + parents.output_tokens - coalesce(parents.reasoning_tokens, 0) as tokens
    from continuations as links
    inner join call_keys as parents on links.parent_call_id = parents.call_id
    inner join outcomes on parents.span_id = outcomes.span_id
    where outcomes.outcome = 'complete' and links.call_id in (select call_id from seen)
),

rated as (
    select
        seen.*,
        if(seen.has_state, null, counted.tokens) as same_tokens,
        if(before.tokens >= 0 and seen.new_media = 0, before.tokens, null) as before_tokens,
        coalesce(own.input_rate, shared.input_rate, 4.0) as input_rate,
        coalesce(own.answer_rate, shared.answer_rate, 4.0) as answer_rate,
        coalesce(own.input_basis, shared.input_basis, '4.0 a token, the usual figure') as input_basis,
        coalesce(own.answer_basis, shared.answer_basis, '4.0 a token, the usual figure') as answer_basis
    from seen
    left join counted
        on seen.provider = counted.provider
        and seen.request_model is not distinct from counted.request_model
        and seen.request_digest = counted.request_digest
        and seen.system_digest is not distinct from counted.system_digest
    left join before
        on seen.call_id = before.call_id
        and seen.provider = before.provider
        and seen.request_model is not distinct from before.request_model
        and seen.system_digest is not distinct from before.system_digest
    left join bytes_per_token as own on seen.provider = own.provider and seen.request_model = own.model
    left join bytes_per_token as shared on seen.provider = shared.provider and shared.model is null
),

estimated as (
    select
        span_id,
        call_id,
        case
            when input_tokens is not null then input_tokens
            when same_tokens is not null then same_tokens
            when before_tokens is not null then before_tokens + try_cast(ceil(new_bytes / input_rate) as bigint)
            when input_media = 0 and not has_state then try_cast(ceil(input_bytes / input_rate) as bigint)
        end as input,
        try_cast(ceil(answer_bytes / answer_rate) as bigint) as answer,
        greatest(answer, coalesce(output_tokens, 0)) as output,
        concat(
            if(starts_with(billed, 'at least'), 'at least: ', ''),
            case
                when input_tokens is not null then 'input as reported'
                when same_tokens is not null then 'input as of the same request'
                when before_tokens is not null then concat(
                    'input as of the call before and its answer, and ', new_bytes, ' bytes at ', input_basis
                )
                else concat('input by ', input_bytes, ' bytes at ', input_basis)
            end,
            '; output ',
            case
                when answer_bytes > 0 and answer >= coalesce(output_tokens, 0)
                    then concat('by ', answer_bytes, ' bytes at ', answer_basis)
                when output_tokens is not null then 'as reported so far'
                else 'none seen'
            end
        ) as rule
    from rated
)

select span_id, call_id, try_cast(input as bigint) as input_tokens, output as output_tokens, rule
from estimated
where input >= 0 and output >= 0
