-- kept_caches: one row per request that made a cache which is billed by token and hour; times are seconds since 1970, UTC.
-- kept_until: when the cache was deleted, else when it expires by the latest word of it (it may be prolonged), else now.
with said as (
    select
        span_id,
        provider,
        operation,
        regexp_extract(identifiers['cached_content'][1], '[^/]+$') as cache,
        epoch(started_at)::bigint as said_at,
        usage_details['kept_tokens'] as kept_tokens,
        try_cast(raw_usage ->> '$.kept_from' as bigint) as kept_from,
        try_cast(raw_usage ->> '$.kept_until' as bigint) as kept_until
    from spans
    where operation in ('create_cache', 'update_cache', 'delete_cache') and status_code < 300
),

made as (
    select
        provider,
        cache,
        min(said_at) filter (where operation = 'delete_cache') as deleted_at,
        coalesce(max_by(kept_until, said_at), max(kept_until)) as expires_at
    from said
    where cache <> ''
    group by provider, cache
)

select
    said.span_id,
    said.provider,
    said.cache,
    said.kept_tokens,
    said.kept_from,
    least(made.deleted_at, made.expires_at, epoch(now())::bigint) as kept_until,
    said.kept_tokens * greatest(least(made.deleted_at, made.expires_at, epoch(now())::bigint) - said.kept_from, 0)
        as token_seconds
from said
inner join made on said.provider = made.provider and said.cache = made.cache
where said.operation = 'create_cache' and said.kept_tokens is not null and said.kept_from is not null
