-- matches: one row per call that by its messages continues another, as far as digests alone tell; candidates says how many
-- calls it might have been.
-- A request that begins with an earlier request and its answer has that answer's digest among its prefixes. Of several such
-- calls the one that is nearest counts: of the same recording, provider, model and user, then of the same recording and
-- provider, then any; of those the last before it. Further away only one that cannot be mistaken for another counts, where
-- the calls between went unseen only one within an hour, and users that are told apart are never one conversation.
-- Calls that were stitched when they were made are not looked at again.
-- A digest that one call alone answered needs no search: its calls are joined, which is most of a large store.
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
        epoch_us(coalesce(ended_at, started_at)) as ends_at
    from call_keys
),

prefixes as (
    select call_id, unnest(prefix_digests) as digest, generate_subscripts(prefix_digests, 1) as shortened
    from call_keys
    where parent_call_id is null and previous_response_id is null
),

answers as (
    select call_id, unnest(answer_digests) as digest from call_keys
),

answered as (
    select digest, any_value(call_id) as call_id, count(*) = 1 as is_once
    from answers
    group by digest
),

-- of a digest that one call alone answered there is nothing to choose from
unmistaken as (
    select
        asking.call_id,
        asked.shortened,
        1 as width,
        answering.call_id as parent_call_id,
        asking.user_id,
        answering.user_id as parent_user_id,
        asking.begins_at as happened_at,
        answering.ends_at as parent_at,
        1 as candidates
    from prefixes as asked
    inner join answered on asked.digest = answered.digest and answered.is_once
    inner join placed as asking on asked.call_id = asking.call_id
    inner join placed as answering on answered.call_id = answering.call_id
    where (
            asking.recording = answering.recording
            and asking.provider is not distinct from answering.provider
            and asking.begins >= answering.ends
        )
        or (asking.begins_at >= answering.ends_at and asked.shortened = 1)
),

events as (
    select digest, call_id, shortened, true as asks from prefixes
    union all
    select digest, call_id, 0, false from answers
),

shared as (
    select placed.*, events.* exclude (call_id)
    from events
    inner join answered on events.digest = answered.digest and not answered.is_once
    inner join placed on events.call_id = placed.call_id
),

circles as (
    select digest, call_id, shortened, user_id, asks, if(asks, begins_at, ends_at) as happened_at, 1 as width,
        if(asks, begins, ends) as moment, concat_ws('|', recording, provider, model, user_id) as circle
    from shared
    union all
    select digest, call_id, shortened, user_id, asks, if(asks, begins_at, ends_at), 2,
        if(asks, begins, ends), concat_ws('|', recording, provider)
    from shared
    union all
    select digest, call_id, shortened, user_id, asks, if(asks, begins_at, ends_at), 3, if(asks, begins_at, ends_at), ''
    from shared
),

nearest as (
    select
        call_id, shortened, width, asks,
        last_value(if(asks, null, call_id) ignore nulls) over before as parent_call_id,
        user_id,
        last_value(if(asks, null, user_id) ignore nulls) over before as parent_user_id,
        happened_at,
        last_value(if(asks, null, happened_at) ignore nulls) over before as parent_at,
        count(*) filter (where not asks) over before as candidates
    from circles
    where moment is not null
    window before as (
        partition by digest, width, circle order by moment, asks, call_id
        rows between unbounded preceding and 1 preceding
    )
),

found as (
    select call_id, shortened, width, parent_call_id, user_id, parent_user_id, happened_at, parent_at, candidates from unmistaken
    union all
    select call_id, shortened, width, parent_call_id, user_id, parent_user_id, happened_at, parent_at, candidates from nearest where asks
)

select
    call_id,
    -- asked here, and not above: as a condition of the join it would have the planner pair every call with every other
    arg_min(parent_call_id, shortened * 4 + width) filter (where parent_call_id <> call_id) as parent_call_id,
    arg_min(candidates, shortened * 4 + width) filter (where parent_call_id <> call_id) as candidates
from found
where parent_call_id is not null
    and (user_id = '' or parent_user_id = '' or user_id = parent_user_id)
    and (width = 1 or (candidates = 1 and (width = 2 or shortened = 1)))
    and (shortened = 1 or coalesce(happened_at - parent_at, 0) <= 3600000000)
group by call_id
having count(*) filter (where parent_call_id <> call_id) > 0
