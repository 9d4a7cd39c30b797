-- message_costs: one row per message: what it cost when written, and went on costing each time it was sent again; USD.
-- A message is known by the call that sent it first or brought it as its answer (call_id, message_index: see messages). What
-- of a call's history cannot be laid to a message that was seen is a row of that call, not is_attributed. So the rows add up
-- to the cost of all calls that have messages. times_resent counts the calls that sent it again, resent_tokens what it took up
-- in them, cached or not. written_cost_usd and resent_cost_usd are NULL where none of it has a price, which unpriced_calls
-- counts, the call that wrote it included; total_cost_usd is what is known of the two.
with summed as (
    select
        paid.call_id,
        paid.message_index,
        bool_and(paid.is_attributed) as is_attributed,
        max(paid.tokens) filter (where not paid.is_resent) as tokens,
        max(paid.cost_usd) filter (where not paid.is_resent) as written_cost_usd,
        count(*) filter (where paid.is_resent) as times_resent,
        try_cast(sum(paid.tokens) filter (where paid.is_resent) as bigint) as tokens_again,
        sum(paid.cost_usd) filter (where paid.is_resent) as cost_again_usd,
        sum(paid.cost_usd) as total_cost_usd,
        count(payers.unpriced_reason) as unpriced_calls
    from message_payments as paid
    left join call_costs as payers on paid.paid_by = payers.call_id
    group by paid.call_id, paid.message_index
)

select
    summed.call_id,
    summed.message_index,
    coalesce(threads.conversation_id, summed.call_id) as conversation_id,
    summed.is_attributed,
    summed.tokens,
    summed.written_cost_usd,
    summed.times_resent,
    if(summed.times_resent = 0, 0, summed.tokens_again) as resent_tokens,
    if(summed.times_resent = 0, 0, summed.cost_again_usd)::decimal(38, 18) as resent_cost_usd,
    summed.total_cost_usd,
    summed.unpriced_calls
from summed
left join threads on summed.call_id = threads.call_id
