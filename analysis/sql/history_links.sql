-- history_links: one row per call that goes on with another's history in its conversation: what it takes over, in units.
-- A history is made of links: each takes over what the parent sent and the answer that is gone on with (answer_index is its
-- message_index there). unseen_units is what this call was sent besides, which nobody saw come in. See message_tokens for
-- history_units.
with sent as (
    select
        call_id,
        sum(if(role = 'system', history_units, 0))::bigint as system_units,
        sum(if(is_answer or role in ('system', 'tools', 'earlier'), 0, history_units))::bigint as new_units,
        sum(if(is_answer or role in ('system', 'tools'), 0, coalesce(size, 0)))::hugeint as known_size,
        coalesce(sum(size) filter (where role = 'earlier'), 0)::hugeint as earlier_size,
        count(*) filter (where is_answer) as answers
    from message_tokens
    group by call_id
),

answers as (
    select call_id, message_index, history_units, size, row_number() over (partition by call_id order by message_index) as number
    from message_tokens
    where is_answer
)

select
    histories.call_id,
    histories.parent_call_id,
    answers.message_index as answer_index,
    -- a prompt that is not sent again is kept with the messages of a state
    if(histories.is_state and child.system_units = 0, parent.system_units, 0) as system_units,
    parent.new_units,
    answers.history_units as answer_units,
    if(
        histories.is_whole,
        0,
        least(greatest(child.earlier_size - parent.known_size - coalesce(answers.size, 0), 4) // 4, 1000000000)
    )::bigint as unseen_units
from histories
inner join sent as child on histories.call_id = child.call_id
inner join sent as parent on histories.parent_call_id = parent.call_id
inner join answers
    on histories.parent_call_id = answers.call_id
    and answers.number = greatest(ceil(coalesce(histories.answer_place, 0) * parent.answers), 1)
where histories.is_within
