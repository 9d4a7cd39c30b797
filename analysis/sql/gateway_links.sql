-- gateway_links: one row per call that a gateway made to serve another recorded call, with that call (outer_call_id).
-- The outer call's provider routes, the inner one is another provider's and lies within it in time: clocks of two machines
-- may differ by a quarter of a second, and what a caller gave up on may run on. They are the same work if they have the same
-- response id; or are in one trace, the inner call not beside the outer one, with the same request or the same tokens; or,
-- in two traces, have the same request, tokens and, as far as both know it, answer. Tokens that differ rule it out.
-- Candidates meet by the minute, so that a prompt that is sent all day long is not compared with itself. Among gateways the
-- one that began first is the outer one, so that no call is behind itself. Of several outer calls one that holds it
-- to the microsecond goes first, then the nearest.
with kept as (
    select calls.*, epoch_us(calls.started_at) as begins, epoch_us(calls.ended_at) as ends
    from billable_calls as calls
    left join same_responses as same on calls.call_id = same.call_id
    where calls.started_at is not null and coalesce(same.kept_call_id, calls.call_id) = calls.call_id
),

outers as (
    select kept.*, unnest(range((begins - 250000) // 60000000, ends // 60000000 + 1)) as minute
    from kept
    where routes and ends - begins between 0 and 86400000000
),

inners as (
    select *, begins // 60000000 as minute from kept
),

ties as (
    select outers.call_id as outer_id, inners.call_id as inner_id, 1 as tie
    from outers inner join inners using (minute, response_id)
    union all
    select outers.call_id, inners.call_id, 2
    from outers inner join inners using (minute, trace_id)
    union all
    select outers.call_id, inners.call_id, 3
    from outers inner join inners using (minute, request_digest, input_tokens, output_tokens)
)

select inside.call_id, outside.call_id as outer_call_id
from ties
inner join kept as outside on ties.outer_id = outside.call_id
inner join kept as inside on ties.inner_id = inside.call_id
where outside.provider is distinct from inside.provider
    and inside.begins between outside.begins - if(inside.routes, 0, 250000) and outside.ends
    and (inside.ends <= outside.ends + 250000 or outside.error_type is not null)
    and (not inside.routes or inside.begins > outside.begins or inside.call_id > outside.call_id)
    and coalesce(inside.input_tokens = outside.input_tokens, true)
    and coalesce(inside.output_tokens = outside.output_tokens, true)
    and case ties.tie
        when 1 then true
        when 2 then outside.parent_span_id is distinct from inside.parent_span_id
            and (outside.request_digest = inside.request_digest or outside.output_tokens = inside.output_tokens)
        else outside.trace_id <> inside.trace_id and coalesce(outside.answer_digest = inside.answer_digest, true)
    end
qualify row_number() over (
    partition by inside.call_id
    order by ties.tie, inside.begins < outside.begins or inside.ends > outside.ends,
        outside.begins desc, outside.ends, outside.call_id desc
) = 1
