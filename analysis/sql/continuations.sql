-- continuations: one row per call that continues another: by that one's response id (chain) or by its messages (stitched).
-- A response id says more than messages do; of two calls with one response id, the first counts.
with chained as (
    select child.call_id, parent.call_id as parent_call_id
    from call_keys as child
    inner join call_keys as parent
        on child.provider = parent.provider
        and child.previous_response_id = parent.response_id
        and child.call_id <> parent.call_id
    qualify row_number() over (
        partition by child.call_id order by parent.started_at nulls last, parent.recording, parent.entry, parent.call_id
    ) = 1
),

stitched as (
    select call_id, parent_call_id, candidates from matches
    union all
    select call_id, parent_call_id, coalesce(parent_candidates, 1) from call_keys where parent_call_id is not null
)

select
    call_id,
    coalesce(chained.parent_call_id, stitched.parent_call_id) as parent_call_id,
    if(chained.call_id is not null, 'chain', 'stitched') as continued_by,
    if(chained.call_id is not null, 1, stitched.candidates) as candidates
from chained
full outer join stitched using (call_id)
