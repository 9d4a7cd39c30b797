-- outcomes: one row per HTTP attempt: how it ended, and whether it is billed, by its provider's document (NULL: unknown).
-- outcome: complete; refused (the provider declined, with usage); aborted (the caller closed a stream before its end); failed
-- (the provider broke one off); timeout (given up on before the answer came); unsent (no connection was made); error (an error
-- response without usage). billed says what of it: as reported, nothing, input and output so far, at least that, or the whole
-- answer, also the part that nobody saw. An error response without usage costs nothing, unless the document has its status
-- among those that may be billed; nor do requests of surfaces that run no model, but those that hand in a batch: what that
-- costs is unknown until its results were read (one call with the batch's id). Names of exceptions are those of clients.
with settled as (
    select distinct provider, response_id from spans where operation = 'retrieve' and input_tokens is not null
),

ended as (
    select
        spans.span_id,
        spans.call_id,
        spans.output_tokens,
        spans.operation = 'create_batch' and spans.status_code < 400 and settled.response_id is null as is_open_batch,
        coalesce(list_contains(providers.unbilled_surfaces, spans.surface), false) as runs_no_model,
        coalesce(list_contains(providers.billed_statuses, spans.status_code), false) as has_billed_status,
        providers.aborted_stream,
        providers.stream_error,
        providers.timeout,
        providers.refusal,
        coalesce(list_contains(list_transform(spans.message_sizes, lambda item: item.role), 'assistant'), false)
            as has_answer,
        spans.error_type = 'stream_closed_early' or regexp_matches(
            spans.error_type,
            '(Timeout|TimeoutError|CancelledError|ReadError|ProtocolError|IncompleteRead|PayloadError|DisconnectedError)$'
            || '|^(ConnectionError|ConnectionResetError|ConnectionClosedError|ClientOSError|GeneratorExit|CANCELLED)$'
            || '|^DEADLINE_EXCEEDED$'
        ) as is_given_up,
        case
            when spans.status_code >= 400 and spans.input_tokens is null then 'error'
            when spans.error_type is null or (spans.finish_reasons is not null and spans.input_tokens is not null)
                then if(list_has_any(spans.finish_reasons, providers.refusal_reasons), 'refused', 'complete')
            when spans.status_code is null and regexp_matches(
                spans.error_type,
                '^(Connect(Error|Timeout|TimeoutError)|ConnectionRefusedError|ConnectionTimeoutError|NewConnectionError'
                || '|EndpointConnectionError|ClientConnector\w*|NameResolutionError|PoolTimeout|EmptyPoolError|gaierror)$'
            ) then 'unsent'
            when is_given_up and spans.is_stream
                and (spans.status_code is not null or spans.error_type = 'stream_closed_early') then 'aborted'
            when is_given_up then 'timeout'
            when spans.status_code is null and spans.input_tokens is null and regexp_matches(spans.error_type, '^[A-Z_]+$')
                then 'error'
            when spans.status_code is null then 'timeout'
            else 'failed'
        end as outcome
    from spans
    left join providers on spans.provider = providers.provider
    left join settled
        on spans.operation = 'create_batch'
        and spans.provider = settled.provider
        and spans.identifiers['batch_id'][1] = settled.response_id
    where spans.call_id is not null
),

said as (
    select
        ended.*,
        nullif(case
            when is_open_batch then null
            when runs_no_model or outcome = 'unsent' then 'nothing'
            when outcome = 'error' then if(has_billed_status, null, 'nothing')
            when outcome = 'aborted' then aborted_stream
            when outcome = 'failed' then stream_error
            when outcome = 'timeout' then timeout
            when outcome = 'refused' and refusal = 'unknown' then null
            -- what was declined before its first word has one token at most, that of the end
            when outcome = 'refused' and refusal = 'nothing without output' and not has_answer
                then if(output_tokens <= 1, 'nothing', null)
            else 'as reported'
        end, 'unknown') as billed
    from ended
)

select
    span_id,
    call_id,
    outcome,
    billed <> 'nothing' as is_billed,
    billed
from said
