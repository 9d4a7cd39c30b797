-- attempt_sizes: one row per HTTP attempt whose messages are known: what was sent and answered; bytes of text, parts of media.
-- new_ is what the request sent for the first time (users' messages and tools' results), answer_ what came of the answer.
-- has_state: the provider holds more of the input than the request shows.
select
    span_id,
    call_id,
    previous_response_id is not null or provider_conversation_id is not null as has_state,
    coalesce(list_sum(list_transform(
        message_sizes, lambda item: if(item.role = 'assistant', 0, greatest(coalesce(item.size, 0), 0))
    )), 0) as input_bytes,
    coalesce(list_sum(list_transform(
        message_sizes, lambda item: if(item.role in ('user', 'tool'), greatest(coalesce(item.size, 0), 0), 0)
    )), 0) as new_bytes,
    coalesce(list_sum(list_transform(
        message_sizes, lambda item: if(item.role = 'assistant', greatest(coalesce(item.size, 0), 0), 0)
    )), 0) as answer_bytes,
    coalesce(list_sum(list_transform(message_sizes, lambda item: coalesce(item.media, 0))), 0) as input_media,
    coalesce(list_sum(list_transform(
        message_sizes, lambda item: if(item.role in ('user', 'tool'), coalesce(item.media, 0), 0)
    )), 0) as new_media
from spans
where call_id is not null and message_sizes is not null
