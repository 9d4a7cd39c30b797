-- same_responses: one row per call that recorded a response which another call recorded too; kept_call_id is the one that
-- counts, also in its own row.
-- Two records are of one response if provider, surface and response id are the same and nothing that both know differs:
-- request, input tokens and, where the answer came whole, its tokens and words; at least the request or the tokens must be
-- known to be the same. One watcher (all of live capture, one recording) sees a response twice only at the same time: where
-- its records do not overlap they are several responses, and the first of one watcher is the first of another; what is read
-- (the results of a batch) can be read again at any time, and is one response.
-- The record that counts is the one that says what was billed, else that has usage, else seen live, else begun first.
with shared as (
    select
        calls.*,
        min(request_digest) over w as least_digest,
        max(request_digest) over w as most_digest,
        min(answer_digest) over w as least_answer,
        max(answer_digest) over w as most_answer,
        min(input_tokens) over w as least_input,
        max(input_tokens) over w as most_input,
        min(output_tokens) over w as least_output,
        max(output_tokens) over w as most_output
    from billable_calls as calls
    where response_id in (
        select response_id from billable_calls where response_id is not null group by response_id having count(*) > 1
    )
    window w as (partition by provider, surface, response_id)
    qualify count(*) over w > 1
),

-- what a record does not know is what all others know, if they agree
filled as (
    select
        call_id,
        watcher,
        entry,
        started_at,
        ended_at,
        says_cost,
        is_read,
        input_tokens is not null as has_usage,
        coalesce(request_digest, if(least_digest = most_digest, least_digest, null)) as request,
        coalesce(answer_digest, if(least_answer = most_answer, least_answer, null)) as answer,
        coalesce(input_tokens, if(least_input = most_input, least_input, null)) as input,
        coalesce(output_tokens, if(least_output = most_output, least_output, null)) as output,
        dense_rank() over (order by provider, surface, response_id) as response
    from shared
),

begun as (
    select
        filled.*,
        not is_read and (started_at is null or coalesce(started_at > max(ended_at) over (
            partition by response, request, answer, input, output, watcher
            order by started_at nulls last, entry, call_id rows between unbounded preceding and 1 preceding
        ), true)) as is_another
    from filled
    where request is not null or (input is not null and output is not null)
),

counted as (
    select
        begun.*,
        count(*) filter (where is_another) over (
            partition by response, request, answer, input, output, watcher
            order by started_at nulls last, entry, call_id rows unbounded preceding
        ) as occurrence
    from begun
)

select
    call_id,
    first_value(call_id) over (
        partition by response, request, answer, input, output, occurrence
        order by says_cost desc, has_usage desc, watcher <> '', started_at nulls last, call_id
    ) as kept_call_id
from counted
qualify count(*) over (partition by response, request, answer, input, output, occurrence) > 1
