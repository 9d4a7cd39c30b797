"""What a provider's document says of it, typed: state, sessions, surfaces, identifiers, usage, caching, tiers, sources.

Everything is JSON: ``json.dumps`` writes it as it is, dates as ``2026-11-23``. None is what the document does not say.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import date, time
from typing import TYPE_CHECKING, Any, TypedDict, cast

from .documents import load_documents

if TYPE_CHECKING:
    from .documents import ProviderDocument
    from .surfaces import Surface


class UsageCapabilities(TypedDict):
    """What of its usage a surface reports.

    Attributes:
        counts: normalised counts that are read, such as ``input_tokens``.
        cache_write_by_ttl: lifetimes of cache writes that are told apart, such as ``5m``.
        details: further counts, such as ``web_search_requests``.
        reports_billed_cost: whether a response says what it cost.
    """

    counts: list[str]
    cache_write_by_ttl: list[str]
    details: list[str]
    reports_billed_cost: bool


class CachingCapabilities(TypedDict, total=False):
    """How a surface caches prompts; multipliers are of the input price, as exact texts.

    The keys are those of ``[surface.caching]`` in the document, ``kind``, ``source`` and ``checked`` always there.
    """

    kind: str
    minimum_tokens: int
    minimum_tokens_by_model: dict[str, int]
    granularity_tokens: int
    breakpoints: int
    lookback_blocks: int
    lookback_breakpoints: int
    order: list[str]
    default_ttl: str
    ttls: list[str]
    sticky_ttl: str
    refreshed_by_read: bool
    read_multiplier: str
    read_multiplier_by_model: dict[str, str]
    write_multiplier: str
    write_multiplier_by_model: dict[str, str]
    write_multiplier_by_ttl: dict[str, str]
    storage: str
    notes: str
    source: str
    checked: str


class BillingCapabilities(TypedDict):
    """What of a call that failed or was given up on is billed; ``unknown`` where the document does not say.

    Attributes:
        aborted_stream: of a stream that the caller closed before its end.
        stream_error: of one that the provider ended with an error.
        timeout: of a request that the caller gave up on before anything of the answer came.
        refusal: of a request that the provider declined with a response that has usage.
        refusal_reasons: finish reasons that say so.
        billed_statuses: HTTP statuses of errors that may be billed; all others are not.
        stated_by: who says so, where it is not the provider itself.
        source: URLs of the pages.
        checked: the day they were read.
        notes: what else matters.
    """

    aborted_stream: str
    stream_error: str
    timeout: str
    refusal: str
    refusal_reasons: list[str]
    billed_statuses: list[int]
    stated_by: str | None
    source: list[str]
    checked: str | None
    notes: str | None


class SurfaceCapabilities(TypedDict):
    """One API shape of a provider.

    Attributes:
        operation: OpenTelemetry's word for what it does, such as ``chat``.
        methods: HTTP methods.
        path: the URL's path as the document writes it.
        billed: False where its requests run no model of their own.
        stateful: whether the provider keeps state, and by which field.
        retention: how long it keeps it.
        supported_identifiers: names of the identifiers that are read.
        identifiers: each of these names with the places it is read from.
        metadata_fields: what else a response says, as paths.
        usage: what of its usage is reported.
        caching: how prompts are cached.
        tiers: service tiers as responses name them, the standard one first.
        sources: URLs of the provider's pages for this surface.
        checked: the day they were compared.
        notes: what else matters.
    """

    operation: str
    methods: list[str]
    path: str
    billed: bool
    stateful: bool | str | None
    retention: str | None
    supported_identifiers: list[str]
    identifiers: dict[str, list[str]]
    metadata_fields: list[str]
    usage: UsageCapabilities
    caching: CachingCapabilities | None
    tiers: list[str]
    sources: list[str]
    checked: str | None
    notes: str | None


class SdkCapabilities(TypedDict, total=False):
    """What was seen of an SDK: the keys of ``[sdk.<package>]`` in the document."""

    version: str
    transport: str
    retries: str
    sessions: str
    conversation: str
    session_id: list[str] | str
    native_spans: bool | str
    notes: str
    checked: str


class ProviderCapabilities(TypedDict):
    """One provider.

    Attributes:
        id: name of the document; the column ``provider``.
        name: what people call it.
        otel_provider_name: the value of ``gen_ai.provider.name``.
        price_provider: the provider's id in the price book.
        hosts: host names; ``*`` in one is any text.
        api_stateful: whether the API keeps conversations, and how.
        sdk_session_support: whether SDKs do.
        capabilities: words such as ``prompt_cache``, ``batch``, ``billed_cost``.
        cost_truth: what lowers the bill and what only seems to.
        bills: whether it sends the bill; False for a gateway whose upstream does.
        billing: what of a failed call is on the bill.
        headers: response headers worth reading.
        sources: URLs of the provider's own pages.
        checked: the day the facts were last compared with them.
        sdk: by package, what was seen of SDKs.
        surfaces: by name, the API shapes.
    """

    id: str
    name: str
    otel_provider_name: str
    price_provider: str
    hosts: list[str]
    api_stateful: bool | str | None
    sdk_session_support: bool | str | None
    capabilities: list[str]
    cost_truth: str | None
    bills: bool
    billing: BillingCapabilities
    headers: list[str]
    sources: list[str]
    checked: str | None
    sdk: dict[str, SdkCapabilities]
    surfaces: dict[str, SurfaceCapabilities]


def get_provider_capabilities(provider: str) -> ProviderCapabilities:
    """Return what a provider's document says of it, each fact with its sources and the day it was checked.

    Args:
        provider: id of the provider's document, or its OpenTelemetry name.

    Returns:
        A dict as ``ProviderCapabilities`` describes it, which JSON can hold as it is.

    Raises:
        ValueError: if there is no document of that name.

    Example:
        >>> found = get_provider_capabilities("acme")
        >>> found["checked"], found["surfaces"]["chat"]["supported_identifiers"]
        ('2026-11-23', ['request_id', 'response_id'])
    """
    return capabilities_of(load_documents().named(provider))


def capabilities_of(document: ProviderDocument) -> ProviderCapabilities:
    """Return what a document says of its provider."""
    front = document.front
    checked = _text(front.get("checked"))
    return {
        "id": document.id,
        "name": document.name,
        "otel_provider_name": document.otel_name,
        "price_provider": document.price_provider,
        "hosts": list(document.hosts),
        "api_stateful": front.get("api_stateful"),
        "sdk_session_support": front.get("sdk_session_support"),
        "capabilities": _texts(front.get("capabilities")),
        "cost_truth": front.get("cost_truth"),
        "bills": document.billing.bills,
        "billing": _billing(document),
        "headers": _texts(front.get("headers")),
        "sources": _texts(front.get("sources")),
        "checked": checked,
        "sdk": _json(front.get("sdk") or {}),
        "surfaces": {surface.name: _surface(surface, checked) for surface in document.surfaces},
    }


def _billing(document: ProviderDocument) -> BillingCapabilities:
    said, facts = document.billing, document.front.get("billing", {})
    return {
        "aborted_stream": said.aborted_stream,
        "stream_error": said.stream_error,
        "timeout": said.timeout,
        "refusal": said.refusal,
        "refusal_reasons": list(said.refusal_reasons),
        "billed_statuses": list(said.billed_statuses),
        "stated_by": facts.get("stated_by"),
        "source": _texts(facts.get("source")),
        "checked": _text(facts.get("checked")),
        "notes": facts.get("notes"),
    }


def _surface(surface: Surface, checked: str | None) -> SurfaceCapabilities:
    facts, usage = surface.facts, surface.usage
    return {
        "operation": surface.operation,
        "methods": sorted(surface.methods),
        "path": surface.template,
        "billed": surface.is_billed,
        "stateful": facts.get("stateful"),
        "retention": facts.get("retention"),
        "supported_identifiers": sorted(surface.identifiers),
        "identifiers": {
            name: [str(location) for location in locations] for name, locations in sorted(surface.identifiers.items())
        },
        "metadata_fields": _texts(facts.get("metadata_fields")),
        "usage": {
            "counts": sorted(usage.counts),
            "cache_write_by_ttl": sorted(usage.cache_write_by_ttl),
            "details": sorted(usage.details),
            "reports_billed_cost": usage.billed_cost is not None,
        },
        "caching": _json(facts.get("caching")),
        "tiers": _texts(facts.get("tiers")),
        "sources": _texts(facts.get("sources")),
        "checked": _text(facts.get("checked")) or checked,
        "notes": facts.get("notes"),
    }


def _texts(value: str | Iterable[str] | None) -> list[str]:
    """Return a list, also where the document has one text alone."""
    return [] if value is None else [value] if isinstance(value, str) else list(value)


def _text(value: object) -> str | None:
    return None if value is None else str(value)


def _json(value: Any) -> Any:
    """Return a value of the front matter as JSON has it: its dates and times as text."""
    if isinstance(value, Mapping):
        return {str(key): _json(item) for key, item in cast("Mapping[Any, Any]", value).items()}
    if isinstance(value, list):
        return [_json(item) for item in cast("list[Any]", value)]
    return value.isoformat() if isinstance(value, date | time) else value
