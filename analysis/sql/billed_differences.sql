-- billed_differences: one row per provider, model and upstream whose calls say what they cost: the bills, and what is computed
-- for the same calls; USD. difference_share is of the bills that have a computed cost, within_1_percent the share of these calls
-- whose computed cost is within 1 % of the bill, uncomputed_calls have none.
select
    provider,
    coalesce(response_model, request_model) as model,
    upstream_provider,
    count(*) as calls,
    sum(billed_cost_usd)::decimal(38, 18) as billed_cost_usd,
    count(*) - count(computed_cost_usd) as uncomputed_calls,
    (sum(billed_cost_usd) filter (where computed_cost_usd is not null))::decimal(38, 18) as compared_cost_usd,
    sum(computed_cost_usd)::decimal(38, 18) as computed_cost_usd,
    (sum(computed_cost_usd - billed_cost_usd))::decimal(38, 18) as difference_usd,
    (sum(computed_cost_usd - billed_cost_usd)::double / nullif(sum(billed_cost_usd)
        filter (where computed_cost_usd is not null), 0)::double) as difference_share,
    avg((abs(computed_cost_usd - billed_cost_usd) <= 0.01 * billed_cost_usd)::integer) as within_1_percent
from call_costs
where billed_cost_usd is not null
group by provider, model, upstream_provider
