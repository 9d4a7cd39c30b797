-- duplicates: one row per call that another call in the ledger is the bill of; billed_call_id is that call, never itself one.
-- reason is 'same response' (one provider response, recorded twice) or 'behind a gateway' (a gateway and what it called).
-- Of a gateway's call and those below it, the outermost whose provider sends bills is the bill of everything below it, for
-- that is whom the user pays. A gateway that sends none stands for the call that served it, the last that did not fail. Where
-- nobody among them sends bills, a call that says what it cost takes that place. Links are walked down from the outermost
-- call, each once, and then up from the bills.
with recursive walked as (
    select outer_call_id as call_id, outer_call_id as root_id
    from gateway_links
    where outer_call_id not in (select call_id from gateway_links)
    group by outer_call_id
    union all
    select links.call_id, walked.root_id
    from walked
    inner join gateway_links as links on walked.call_id = links.outer_call_id
),

nodes as (
    select
        walked.call_id,
        links.outer_call_id,
        if(bool_or(calls.bills) over (partition by walked.root_id), calls.bills, calls.says_cost) as is_bill,
        links.call_id is not null and row_number() over (
            partition by links.outer_call_id
            order by calls.error_type is not null, calls.started_at desc, walked.call_id
        ) = 1 as serves_outer
    from walked
    inner join billable_calls as calls on walked.call_id = calls.call_id
    left join gateway_links as links on walked.call_id = links.call_id
),

paid as (
    select call_id, if(is_bill, call_id, null) as billed_call_id from nodes where outer_call_id is null
    union all
    select nodes.call_id, coalesce(paid.billed_call_id, if(nodes.is_bill, nodes.call_id, null))
    from paid
    inner join nodes on paid.call_id = nodes.outer_call_id
),

served as (
    select call_id, coalesce(billed_call_id, call_id) as billed_call_id
    from paid
    where billed_call_id is not null or call_id not in (select outer_call_id from gateway_links)
    union all
    select nodes.outer_call_id, served.billed_call_id
    from served
    inner join nodes on served.call_id = nodes.call_id and nodes.serves_outer
    inner join paid on nodes.outer_call_id = paid.call_id and paid.billed_call_id is null
)

select call_id, billed_call_id, 'behind a gateway' as reason
from served
where billed_call_id <> call_id
union all
select same.call_id, coalesce(served.billed_call_id, same.kept_call_id), 'same response'
from same_responses as same
left join served on same.kept_call_id = served.call_id
where same.call_id <> same.kept_call_id
