-- message_payments: one row per message and call that paid for it: the one that wrote it, then each that sent it again; USD.
-- call_id and message_index name the message, paid_by the call; the rows of a call add up to its cost.
-- What a call sends again is one block of its prompt. Which messages it holds follows from the calls that it continues:
-- each added to the history what it sent and the answer that was gone on with. Along a block they take up room by their
-- tokens; its beginning is what was read from the cache, then comes what was written to it, and each part has its price.
-- Shares are cut from running sums, to 1e-12 USD, so that those of a block add up to it exactly. What of a history nobody saw (before a
-- sliding window, of a call that is not in the store) is laid to the block itself, and not is_attributed. Prompts and tools
-- are those of the first call of the conversation that sent the same.
with recursive shares as (
    select * from message_shares
),

blocks as (
    select * from shares where role = 'earlier'
),

links as (
    select * from history_links
),

unseen as (
    select call_id, unseen_units as units from links where unseen_units > 0
    union all
    select call_id, history_units from blocks where call_id not in (select call_id from links)
),

-- every call with every link that its history was made by, its own and those before
lines as (
    select call_id, parent_call_id as ancestor_id, call_id as link_id from links
    union all
    select lines.call_id, links.parent_call_id, links.call_id
    from lines
    inner join links on lines.ancestor_id = links.call_id
),

lengths as (
    select
        lines.call_id,
        sum(links.system_units + links.new_units + links.answer_units + coalesce(unseen.units, 0))::bigint as units
    from lines
    inner join links on lines.link_id = links.call_id
    left join unseen on lines.ancestor_id = unseen.call_id
    group by lines.call_id
),

-- what a link adds, each message with its place in every history that holds it
added as (
    select
        links.call_id as link_id,
        shares.call_id,
        shares.message_index,
        true as is_attributed,
        shares.history_units as units,
        coalesce(lengths.units, 0) + if(shares.role = 'system', 0, links.system_units + coalesce(unseen.units, 0))
            + coalesce(sum(if(shares.is_answer, 0, shares.history_units)) over (
                partition by links.call_id, shares.role = 'system' order by shares.message_index
                rows between unbounded preceding and 1 preceding
            ), 0)::bigint as starts_at
    from links
    inner join shares
        on links.parent_call_id = shares.call_id
        and shares.role not in ('earlier', 'tools')
        and (not shares.is_answer or shares.message_index = links.answer_index)
        and (shares.role <> 'system' or links.system_units > 0)
    left join lengths on links.parent_call_id = lengths.call_id
    left join unseen on links.parent_call_id = unseen.call_id
    union all
    select
        links.call_id, null, null, false, unseen.units,
        coalesce(lengths.units, 0) + links.system_units
    from links
    inner join unseen on links.parent_call_id = unseen.call_id
    left join lengths on links.parent_call_id = lengths.call_id
),

rated as (
    select
        blocks.call_id,
        blocks.message_index,
        blocks.tokens,
        blocks.cost_usd,
        coalesce(lengths.units, 0) as known_units,
        coalesce(unseen.units, 0) as unseen_units,
        known_units + unseen_units as block_units,
        coalesce(block_units * (blocks.cached_tokens / nullif(blocks.tokens, 0)), 0) as read_to,
        coalesce(block_units * ((blocks.cached_tokens + blocks.written_tokens) / nullif(blocks.tokens, 0)), 0) as written_to,
        blocks.cost_usd::double / nullif(read_share + write_share + fresh_share, 0) as factor,
        coalesce(factor * read_share / nullif(read_to, 0), if(factor is null, blocks.cost_usd::double / block_units, 0)) as read_rate,
        coalesce(factor * write_share / nullif(written_to - read_to, 0), if(factor is null, read_rate, 0)) as write_rate,
        coalesce(factor * fresh_share / nullif(block_units - written_to, 0), if(factor is null, read_rate, 0)) as fresh_rate
    from blocks
    left join lengths on blocks.call_id = lengths.call_id
    left join unseen on blocks.call_id = unseen.call_id
),

held as (
    select rated.*, added.call_id as held_id, added.message_index as held_index, is_attributed,
        starts_at, starts_at + added.units as ends_at
    from rated
    inner join lines on rated.call_id = lines.call_id
    inner join added on lines.link_id = added.link_id
    union all
    select rated.*, null, null, false, known_units, block_units from rated where unseen_units > 0
),

cut as (
    select
        coalesce(held_id, call_id) as call_id,
        coalesce(held_index, message_index) as message_index,
        call_id as paid_by,
        is_attributed,
        try_cast(round(tokens::double * (ends_at / block_units)) as bigint)
            - try_cast(round(tokens::double * (starts_at / block_units)) as bigint) as tokens,
        if(ends_at >= block_units, cost_usd, least(cost_usd, (
            read_rate * least(ends_at, read_to) + write_rate * (least(ends_at, written_to) - least(ends_at, read_to))
            + fresh_rate * (ends_at - least(ends_at, written_to))
        )::decimal(38, 12)::decimal(38, 18))) - least(cost_usd, (
            read_rate * least(starts_at, read_to) + write_rate * (least(starts_at, written_to) - least(starts_at, read_to))
            + fresh_rate * (starts_at - least(starts_at, written_to))
        )::decimal(38, 12)::decimal(38, 18)) as cost_usd
    from held
),

prompts as (
    select
        coalesce(first.call_id, later.call_id) as call_id,
        coalesce(first.message_index, later.message_index) as message_index,
        later.call_id as paid_by,
        first.call_id is not null as is_attributed,
        later.tokens,
        later.cost_usd
    from shares as later
    left join shares as first on later.first_call_id = first.call_id and later.role = first.role
    where later.is_resent and later.role <> 'earlier'
)

select call_id, message_index, call_id as paid_by, false as is_resent, true as is_attributed, tokens, cost_usd
from shares
where not is_resent
union all
select call_id, message_index, paid_by, true, is_attributed, tokens, cost_usd from prompts
union all
select call_id, message_index, paid_by, true, true, tokens, cost_usd from cut where is_attributed
union all
select call_id, message_index, paid_by, true, false, sum(tokens)::bigint, sum(cost_usd)
from cut
where not is_attributed
group by call_id, message_index, paid_by
