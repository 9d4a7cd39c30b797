-- messages: one row per message, in the call that sent it first or brought it as its answer; what a call sends once more is
-- one row of that call (is_resent), so that the rows of a call add up to its tokens and its cost. Money is USD, sizes are bytes.
-- role: system, tools (definitions), earlier (resent messages, their number in messages), user, tool (a result), assistant.
-- tokens_source: exact where the provider said it (an answer) or two calls in a row show it (the input less the input and
-- the answer before); estimated where what is known of several is shared out by size. NULL: no usage.
-- cached_tokens: how much of it was read from the cache, which holds the beginning of a prompt: tools, system, messages.
-- cost_usd is what this row cost in its call. Of a message that is its written_cost_usd, and total_cost_usd is that and what
-- it cost each time it was sent again (message_costs); all four are NULL of what is_resent.
select
    shares.call_id,
    shares.conversation_id,
    shares.turn_index,
    shares.place,
    shares.message_index,
    shares.provider,
    shares.role,
    shares.messages,
    shares.size,
    shares.media,
    shares.is_resent,
    shares.tokens,
    shares.tokens_source,
    shares.cached_tokens,
    if(shares.tokens > 0 and not shares.is_answer, shares.cached_tokens * 2 > shares.tokens, null) as read_from_cache,
    shares.cost_usd,
    costs.written_cost_usd,
    costs.resent_cost_usd,
    costs.times_resent,
    costs.total_cost_usd
from message_shares as shares
left join message_costs as costs
    on shares.call_id = costs.call_id
    and shares.message_index = costs.message_index
    and costs.is_attributed
