-- billable_calls: one row per call to a surface that runs a model, with what may tie it to another record of the same work.
-- Facts are its last attempt's, time runs over all attempts, in UTC. bills: the provider sends the bill itself; routes: it
-- hands requests on to other providers. watcher: the recording that an imported call is from, '' for all that was seen live.
select
    keys.call_id,
    keys.provider,
    spans.surface,
    spans.operation = 'retrieve' as is_read,
    keys.response_id,
    keys.request_digest,
    if(spans.error_type is null, array_to_string(keys.answer_digests, ' '), null) as answer_digest,
    keys.input_tokens,
    if(spans.error_type is null, keys.output_tokens, null) as output_tokens,
    spans.error_type,
    spans.trace_id,
    spans.parent_span_id,
    coalesce(nullif(keys.recording, ''), spans.source, '') as watcher,
    keys.entry,
    keys.begun_at as started_at,
    coalesce(keys.over_at, keys.begun_at) as ended_at,
    keys.says_cost,
    coalesce(providers.bills, true) as bills,
    coalesce(providers.routes, false) as routes
from call_keys as keys
inner join spans on keys.span_id = spans.span_id and keys.call_id = spans.call_id
left join providers on keys.provider = providers.provider
where not coalesce(list_contains(providers.unbilled_surfaces, spans.surface), false)
