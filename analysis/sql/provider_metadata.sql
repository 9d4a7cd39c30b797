-- provider_metadata: one row per call: what the provider said, content replaced by its size.
select
    call_id,
    conversation_id,
    provider,
    surface,
    json_extract(raw_metadata, '$.response') as raw_response,
    json_extract(raw_metadata, '$.response_headers') as response_headers,
    json_extract(raw_metadata, '$.request') as raw_request,
    identifiers,
    raw_usage as usage_metrics,
    struct_pack(
        service_tier := service_tier, finish_reasons := finish_reasons, usage_details := usage_details,
        usage_problems := usage_problems
    ) as provider_specific
from calls
