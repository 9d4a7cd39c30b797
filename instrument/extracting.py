"""Everything that a response at hand says, without watching the call: of objects, texts and recordings.

What is handed in becomes an exchange, as far as it is known, and is read by the very rules that read live traffic.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from . import identifiers as ids
from .documents import Match, load_documents
from .facts import extract_matched, facts_of
from .frontmatter import Table
from .handed import handed_in
from .recognising import Recogniser, read_by
from .redact import ContentRules, skeleton
from .surfaces import Surface, compile_surface

if TYPE_CHECKING:
    from .documents import Registry
    from .exchange import Exchange
    from .facts import CallFacts


def extract_all_identifiers(
    response: object, metadata: object = None, provider: str | None = None
) -> dict[str, list[str]]:
    """Return every identifier in a response, at whatever depth: those its provider's document names, and all others.

    Args:
        response: an SDK's response object (pydantic model, dataclass, protobuf message or what wraps one, dict) or a
            list of a stream's events; an HTTP client's response whose body was read (httpx, httpx2, requests, aiohttp),
            with the request it carries; an SDK's raw response; an entry of a HAR recording; JSON or a stream of events
            as text or bytes.
        metadata: what came beside it: a mapping of response headers or of other metadata, pairs (gRPC metadata), or an
            object that has ``headers``, such as an SDK's raw response.
        provider: id of the provider's document or its OpenTelemetry name. Without it the provider is told by the URL
            or, where there is none, by the response's shape; of several that speak it, it is the one they have it from.

    Returns:
        Name to distinct values, in order of appearance. Names are those of the provider's document (``response_id``,
        ``request_id``, ``tool_call_id`` ...); what it does not name is ``undocumented:`` and where it stood, such as
        ``undocumented:response.shard.id`` or ``undocumented:response.header.x-trace-id``. Credentials and text that
        people or models wrote are not in it.

    Raises:
        ValueError: if no document has the name ``provider``.
        TypeError: if the response, or the metadata, is of no kind that can be read.

    Example:
        >>> body = {"id": "r-1", "object": "chat.completion", "choices": [{"shard_id": "s-9"}]}
        >>> extract_all_identifiers(body, {"x-trace-id": "t-7"})["undocumented:response.choices[].shard_id"]
        ['s-9']
    """
    handed = handed_in(response, metadata)
    facts, rules = _read(handed.exchange, provider)
    found = {name: list(values) for name, values in facts.identifiers.items()}
    ids.add(found, "request_id", handed.request_ids, rules)
    documents = load_documents().documents.values()
    names = {name for document in documents for surface in document.surfaces for name in surface.identifiers}
    for name, value in handed.extra.items():
        if name in names:
            ids.add(found, name, [value], rules)
    return {**found, **ids.undocumented(ids.sweep([handed.extra], "metadata", rules), found, rules)}


def extract_all_metadata(response: object, metadata: object = None, provider: str | None = None) -> dict[str, Any]:
    """Return all that a response says but its content: every string that people or models wrote is only its length.

    Args:
        response: as for ``extract_all_identifiers``.
        metadata: likewise.
        provider: likewise.

    Returns:
        Of a response alone (an object, a dict, a JSON text) its own document in its own shape, text as
        ``"<123 chars>"``, tool arguments and the like as ``"<456 bytes>"``, secrets as ``"<redacted>"``. Of a stream
        ``{"events", "shapes", "last", "ended"}``: each distinct shape of its events once, and the last event.
        Where more is known (an HTTP response, a HAR entry, ``metadata``) what the column ``raw_metadata`` of a call
        holds, as far as it is known: ``{"method", "url", "status_code", "request", "request_headers", "response",
        "response_headers"}``, and ``"metadata"`` for what was given and is no header.

    Raises:
        ValueError: if no document has the name ``provider``.
        TypeError: if the response, or the metadata, is of no kind that can be read.

    Example:
        >>> extract_all_metadata({"id": "r-1", "choices": [{"message": {"content": "Hello there."}}]})
        {'id': 'r-1', 'choices': [{'message': {'content': '<12 chars>'}}]}
    """
    handed = handed_in(response, metadata)
    facts, rules = _read(handed.exchange, provider)
    record = dict(facts.raw_metadata)
    if handed.is_alone:
        return record["response"]
    known = {name: value for name, value in record.items() if value not in (None, "", {})}
    return {**known, "metadata": skeleton(handed.extra, rules)} if handed.extra else known


# --- how it is read


def _read(exchange: Exchange, provider: str | None) -> tuple[CallFacts, ContentRules]:
    registry = load_documents()
    exchange = exchange.with_request_headers(registry.request_headers.keeps)
    url = urlsplit(exchange.url)
    host = registry.of_host(url.netloc)
    document = registry.named(provider) if provider is not None else host
    if url.path and document is host:
        match = registry.match(exchange.method, url.netloc, url.path)
        facts = extract_matched(exchange, match) if match is not None else None
        if facts is not None:
            return facts, _surface(registry, facts).rules
    found = Recogniser(registry).recognised(exchange, document) or read_by(exchange, _any_surface(registry))
    return facts_of(found.reading, found.match, found.usage), found.match.surface.rules


def _surface(registry: Registry, facts: CallFacts) -> Surface:
    """Return the surface that the facts were read by."""
    surfaces = registry.documents[facts.provider].surfaces
    return next(surface for surface in surfaces if surface.name == facts.surface)


def _any_surface(registry: Registry) -> Match:
    """Return a surface that names nothing and hides what any document hides: for what nobody knows."""
    documents = list(registry.documents.values())
    rules = [surface.rules for document in documents for surface in document.surfaces]
    joined = ContentRules.build(
        {key for rule in rules for key in rule.text},
        {key for rule in rules for key in rule.opaque},
        {key for rule in rules for key in rule.secret},
        sorted({rule.secret_pattern.pattern for rule in rules}),
    )
    table = Table("", "", {"name": "any", "operation": "any", "path": "/"})
    return Match(documents[0], compile_surface("any", "any", table, joined), {})
