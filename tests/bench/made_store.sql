-- One day of made spans, a row per HTTP attempt, in the columns of SPAN_SCHEMA: conversations of 1 to 40 calls with several
-- providers and models. $day is a date, $calls how many calls there are about. Everything follows from the conversation's
-- number and the call's place in it, so that a store is the same every time.
with kinds (kind, provider, surface, host, asked_model, answering_model, tier, billing, can_chain, is_billed) as (
    values
        (0, 'openai', 'chat.completions', 'api.openai.com', 'gpt-4o', 'gpt-4o-2024-08-06', 'default', null, false, false),
        (1, 'openai', 'responses', 'api.openai.com', 'gpt-5-mini', 'gpt-5-mini-2025-08-07', 'default', null, true, false),
        (2, 'anthropic', 'messages', 'api.anthropic.com', 'claude-sonnet-4-5', 'claude-sonnet-4-5-20250929', 'standard',
            map {'inference_geo': 'not_available'}, false, false),
        (3, 'anthropic', 'messages', 'api.anthropic.com', 'claude-haiku-4-5', 'claude-haiku-4-5-20251001', 'standard',
            map {'inference_geo': 'not_available'}, false, false),
        (4, 'gemini', 'generate_content', 'generativelanguage.googleapis.com', 'gemini-2.5-flash', 'gemini-2.5-flash',
            null, null, false, false),
        (5, 'mistral', 'chat.completions', 'api.mistral.ai', 'mistral-small-latest', 'mistral-small-latest', 'standard',
            null, false, false),
        (6, 'openrouter', 'chat.completions', 'openrouter.ai', 'anthropic/claude-haiku-4.5',
            'anthropic/claude-4.5-haiku-20251001', null, map {'upstream': 'Amazon Bedrock'}, false, true),
        -- a server of the user's own: no price
        (7, 'openai_compatible', 'chat.completions', 'models.internal', 'qwen3', 'qwen3', null, null, false, false)
),

drawn as (
    select
        concat(strftime($day::date, '%Y%m%d'), '-', number) as chat,
        number,
        -- many are short, few are long
        1 + floor(40 * pow(hash(chat, 'length') / 18446744073709551616.0, 3))::bigint as length,
        hash(chat, 'kind') % 8 as kind,
        -- set by the application, stitched when they were made, or left to the analysis
        ['app', 'app', 'app', 'app', 'app', 'stitched', 'stitched', null, null, null][1 + (hash(chat, 'told') % 10)::bigint] as told,
        hash(chat, 'chained') % 3 = 0 as is_chained,
        hash(chat, 'watched') % 2 = 0 as is_watched,
        $day::date + to_seconds((hash(chat, 'begun') % 80000)::bigint) as begun_at
    from range($calls) as chats(number)
    qualify coalesce(sum(length) over (order by number rows between unbounded preceding and 1 preceding), 0) < $calls
),

turns as (
    select
        drawn.*,
        kinds.* exclude (kind),
        turn,
        left(md5(concat(chat, '|call|', turn)), 16) as call_id,
        left(md5(concat(chat, '|call|', turn - 1)), 16) as call_before,
        concat('resp_', md5(concat(chat, '|response|', turn))) as response_id,
        concat('resp_', md5(concat(chat, '|response|', turn - 1))) as response_before,
        turn > 1 and hash(chat, turn, 'tool') % 5 = 0 as is_tool,
        turn < length and hash(chat, turn + 1, 'tool') % 5 = 0 as calls_tool,
        can_chain and is_chained as is_kept,
        hash(chat, turn, 'failed') % 200 = 0 as is_failed,
        hash(chat, turn, 'retried') % 33 = 0 as is_retried,
        hash(chat, 'stream') % 5 < 2 as is_streamed,
        is_streamed and hash(chat, turn, 'closed') % 100 = 0 and not is_failed as is_closed,
        80 + (hash(chat, turn, 'asked') % 2000)::bigint as asked_bytes,
        200 + (hash(chat, turn, 'answered') % 3000)::bigint as answered_bytes,
        begun_at + to_milliseconds((turn * 20000 + hash(chat, turn, 'wait') % 9000)::bigint) as started_at,
        700 + (hash(chat, turn, 'took') % 9000)::bigint as took_ms
    from drawn
    inner join kinds using (kind)
    cross join unnest(range(1, length + 1)) as places(turn)
),

sized as (
    select
        turns.*,
        coalesce(sum(asked_bytes + answered_bytes) over (
            partition by chat order by turn rows between unbounded preceding and 1 preceding
        ), 0)::bigint as earlier_bytes,
        (1600 + earlier_bytes + asked_bytes) // 4 as sent_tokens,
        answered_bytes // 4 as answered_tokens,
        if(turn > 1 and sent_tokens > 1024 and hash(chat, turn, 'cached') % 4 > 0, (1600 + earlier_bytes) // 512 * 128, 0)
            as read_tokens,
        if(provider = 'anthropic' and sent_tokens > 1024, sent_tokens - read_tokens, 0) as written_tokens
    from turns
),

tried as (
    select sized.*, attempt, attempt + 1 < 1 + is_retried::bigint as is_refused,
        is_refused or is_failed as has_error, is_refused or is_failed or is_closed as lacks_usage
    from sized
    cross join unnest(range(1 + is_retried::bigint)) as attempts(attempt)
)

select
    3 as schema_version,
    if(attempt = 0, call_id, left(md5(concat(call_id, '|', attempt)), 16)) as span_id,
    md5(concat(chat, '|trace|', turn)) as trace_id,
    left(md5(concat(chat, '|caller|', turn)), 16) as parent_span_id,
    concat('chat ', asked_model) as name,
    'CLIENT' as kind,
    'turnledger' as scope,
    'shop' as service_name,
    started_at + to_milliseconds(attempt * 1200) as started_at,
    started_at + to_milliseconds(attempt * 1200 + if(is_refused, 90, took_ms)) as ended_at,
    if(is_refused, 90, took_ms)::double as duration_ms,
    if(has_error, 'ERROR', 'UNSET') as span_status,
    null as source,
    call_id,
    attempt as attempt_index,
    provider,
    surface,
    'chat' as operation,
    asked_model as request_model,
    if(has_error, null, answering_model) as response_model,
    host as server_address,
    case when is_refused then 429 when is_failed then 400 else 200 end as status_code,
    case when is_refused then '429' when is_failed then 'invalid_request_error' when is_closed then 'stream_closed_early' end
        as error_type,
    is_streamed as is_stream,
    if(is_streamed and not has_error, took_ms / 4.0, null) as first_chunk_ms,
    if(lacks_usage, null, [if(calls_tool, 'tool_calls', 'stop')]) as finish_reasons,
    if(has_error, null, tier) as service_tier,
    if(has_error, null, response_id) as response_id,
    if(is_kept and turn > 1, response_before, null) as previous_response_id,
    concat('req_', md5(concat(chat, '|request|', turn, '|', attempt))) as request_id,
    case told when 'app' then concat('chat-', chat) when 'stitched' then left(md5(concat(chat, '|call|1')), 16) end
        as conversation_id,
    told as conversation_source,
    concat('user-', hash(chat, 'user') % 5000) as user_id,
    map {'team': ['support', 'search', 'sales', 'research'][1 + (hash(chat, 'team') % 4)::bigint]} as tags,
    'shop.answers.answer' as observation,
    map {'response_id': [response_id], 'request_id': [request_id]} as identifiers,
    if(lacks_usage, null, sent_tokens) as input_tokens,
    if(lacks_usage, null, answered_tokens) as output_tokens,
    if(lacks_usage, null, read_tokens) as cache_read_tokens,
    if(lacks_usage, null, written_tokens) as cache_write_tokens,
    if(lacks_usage or provider <> 'anthropic', null, map {'5m': written_tokens, '1h': 0}) as cache_write_by_ttl,
    if(lacks_usage or provider = 'anthropic', null, answered_tokens // 3) as reasoning_tokens,
    if(lacks_usage or provider = 'anthropic', null, map {'total_tokens': sent_tokens + answered_tokens}) as usage_details,
    null as usage_problems,
    if(is_billed and not lacks_usage, (sent_tokens * 0.000001 + answered_tokens * 0.000005)::decimal(20, 10), null)
        as billed_cost_usd,
    if(is_kept, 1, 2 * turn) as message_count,
    is_tool as continues_turn,
    if(lacks_usage, null, format(
        '{{"prompt_tokens":{},"completion_tokens":{},"cached_tokens":{}}}', sent_tokens, answered_tokens, read_tokens
    )) as raw_usage,
    format(
        '{{"method":"POST","url":"https://{}/v1/{}","status_code":{},"request":{{"model":"{}","temperature":0.2,'
        || '"messages":[{{"content":"<{} chars>","role":"user"}}]}},"request_headers":{{"accept":"application/json",'
        || '"accept-encoding":"gzip, deflate","content-length":"{}","content-type":"application/json","user-agent":'
        || '"shop/4.1.2"}},"response":{{"id":"{}","model":"{}","choices":[{{"index":0,"message":{{"role":"assistant",'
        || '"content":"<{} chars>"}},"finish_reason":"stop"}}]}},"response_headers":{{"connection":"keep-alive",'
        || '"content-type":"application/json","strict-transport-security":"max-age=31536000; includeSubDomains; preload",'
        || '"x-request-id":"{}","x-ratelimit-remaining-tokens":"{}","x-processing-ms":"{}","cf-ray":"{}-FRA"}}}}',
        host, surface, status_code, asked_model, asked_bytes, 400 + earlier_bytes, response_id, answering_model,
        answered_bytes, request_id, hash(chat, turn, 'left') % 1000000, took_ms, left(md5(concat(chat, '|ray|', turn)), 16)
    ) as raw_metadata,
    null as content,
    null as attributes,
    null as session_id,
    null as managed_strategy,
    null as strategy_reason,
    '9f3a5c77' as digest_key,
    left(md5(concat(chat, '|asked|', turn)), 24) as request_digest,
    if(is_kept or turn = 1, null, list_transform(
        range(turn - 1, greatest(turn - 4, 0), -1), lambda before: left(md5(concat(chat, '|answer|', before)), 24)
    )) as prefix_digests,
    if(has_error, null, [left(md5(concat(chat, '|answer|', turn)), 24)]) as answer_digests,
    left(md5(concat('system|', kind, '|', tags['team'])), 24) as system_digest,
    list_filter([
        {'role': 'system', 'messages': 1, 'size': 1600, 'media': 0, 'digest': null},
        if(turn > 1 and not is_kept, {
            'role': 'earlier', 'messages': 2 * turn - 2, 'size': earlier_bytes, 'media': 0, 'digest': null
        }, null),
        {'role': if(is_tool, 'tool', 'user'), 'messages': 1, 'size': asked_bytes, 'media': 0,
            'digest': left(md5(concat(chat, '|message|', turn)), 16)},
        if(has_error, null, {'role': 'assistant', 'messages': 1, 'size': answered_bytes, 'media': 0,
            'digest': left(md5(concat(chat, '|said|', turn)), 16)})
    ], lambda item: item is not null) as message_sizes,
    left(md5(concat(chat, '|message|', if(is_kept, turn, 1))), 16) as first_message_digest,
    provider = 'anthropic' as marks_cache,
    if(lacks_usage, null, calls_tool) as asks_tools,
    if(turn > 1 and not is_kept and (told = 'stitched' or (told = 'app' and is_watched)), call_before, null)
        as parent_call_id,
    null as provider_conversation_id,
    if(turn > 1 and not is_kept and (told = 'stitched' or (told = 'app' and is_watched)), 1, null) as parent_candidates,
    if(has_error, null, billing) as billing
from tried
order by started_at, span_id
