-- matches: one row per call that by its messages continues another, as far as digests alone tell; candidates says how many
-- calls it might have been.
-- A request that begins with an earlier request and its answer has that answer's digest among its prefixes. Of several such
-- calls the one that is nearest counts: of the same recording, provider, model and user, then of the same recording and
-- provider, then any; of those the last before it. Further away only one that cannot be mistaken for another counts, where
-- the calls between went unseen only one within an hour, and users that are told apart are never one conversation.
-- Calls that were stitched when they were made are not looked at again.
with placed as (
    select
        call_id,
        provider,
        coalesce(request_model, '') as model,
        coalesce(user_id, '') as user_id,
        coalesce(recording, '') as recording,
        coalesce(entry, epoch_us(started_at)) as begins,
        coalesce(entry, epoch_us(coalesce(ended_at, started_at))) as ends,
        epoch_us(started_at) as begins_at,
        epoch_us(coalesce(ended_at, started_at)) as ends_at,
        if(parent_call_id is null and previous_response_id is null, prefix_digests, []) as prefix_digests,
        answer_digests
    from call_keys
),

prefixes as (
    select placed.*, unnest(prefix_digests) as digest, generate_subscripts(prefix_digests, 1) as shortened
    from placed
),

answers as (
    select placed.*, answer.digest
    from placed, unnest(placed.answer_digests) as answer(digest)
    where answer.digest in (select digest from prefixes)
),

events as (
    select digest, call_id, shortened, user_id, begins_at as happened_at, 1 as width, begins as moment, true as asks,
        concat_ws('|', recording, provider, model, user_id) as circle
    from prefixes
    union all
    select digest, call_id, 0, user_id, ends_at, 1, ends, false, concat_ws('|', recording, provider, model, user_id) from answers
    union all
    select digest, call_id, shortened, user_id, begins_at, 2, begins, true, concat_ws('|', recording, provider) from prefixes
    union all
    select digest, call_id, 0, user_id, ends_at, 2, ends, false, concat_ws('|', recording, provider) from answers
    union all
    select digest, call_id, shortened, user_id, begins_at, 3, begins_at, true, '' from prefixes
    union all
    select digest, call_id, 0, user_id, ends_at, 3, ends_at, false, '' from answers
),

seen as (
    select
        digest, call_id, shortened, user_id, happened_at, width, asks,
        last_value(if(asks, null, call_id) ignore nulls) over before as parent_call_id,
        last_value(if(asks, null, user_id) ignore nulls) over before as parent_user_id,
        last_value(if(asks, null, happened_at) ignore nulls) over before as parent_at,
        count(*) filter (where not asks) over before as candidates
    from events
    where moment is not null
    window before as (
        partition by digest, width, circle order by moment, asks, call_id
        rows between unbounded preceding and 1 preceding
    )
)

select call_id, parent_call_id, candidates
from seen
where asks
    and parent_call_id is not null
    and parent_call_id <> call_id
    and (user_id = '' or parent_user_id = '' or user_id = parent_user_id)
    and (width = 1 or (candidates = 1 and (width = 2 or shortened = 1)))
    and (shortened = 1 or coalesce(happened_at - parent_at, 0) <= 3600000000)
qualify row_number() over (partition by call_id order by shortened, width) = 1
