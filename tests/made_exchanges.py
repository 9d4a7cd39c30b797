"""Exchanges made for a test: one of any surface, at the host and path its document says."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Any

from placing import placed
from turnledger.instrument.documents import load_documents
from turnledger.instrument.exchange import Exchange
from turnledger.instrument.facts import extract

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from turnledger.instrument.facts import CallFacts
    from turnledger.instrument.surfaces import Surface

REGISTRY = load_documents()
SURFACES = [
    f"{document.id}/{surface.name}"
    for document in REGISTRY.documents.values()
    for surface in document.surfaces
    if not any(location.source == "response.body" for location in surface.requires)
]
"""Every surface that is told by the request and by headers, whatever is answered."""


def surface_of(name: str) -> Surface:
    """Return ``document/surface``."""
    document, _, surface = name.partition("/")
    return next(item for item in REGISTRY.documents[document].surfaces if item.name == surface)


def request_of(surface: str) -> dict[str, Any]:
    """Return a request body that has a model and what ``document/surface`` requires."""
    body: dict[str, Any] = {"model": "m-1"}
    for location in surface_of(surface).requires:
        if location.source == "request.body":
            body = placed(body, location.path, [] if location.path[-1] == "messages" else "x")
    return body


def written(surface: str) -> dict[str, Any]:
    """Return the table of ``document/surface`` as its document has it, nothing inherited."""
    document, _, name = surface.partition("/")
    return next(item for item in REGISTRY.documents[document].front["surface"] if item["name"] == name)


def url_of(surface: str) -> str:
    """Return a URL of ``document/surface``."""
    path_written = written(surface)["path"]
    path = re.sub(r"\{(\w+)\}", lambda found: "m-1" if found[1] == "model" else f"{found[1]}_1", path_written)
    host = next(
        (host.replace("*", "x") for host in REGISTRY.documents[surface.partition("/")[0]].hosts if host != "*"), ""
    )
    return (
        f"https://{host or 'models.internal'}{path.replace('**', '/v1beta' if '{collection}' in path_written else '')}"
    )


def method_of(surface: str) -> Sequence[str]:
    """Return the HTTP methods of ``document/surface``."""
    return sorted(surface_of(surface).methods)


def events(documents: Iterable[Any], end: bytes = b"") -> bytes:
    """Return server-sent events, named by their type as providers do."""
    return b"".join(b"data: " + json.dumps(document).encode() + b"\n\n" for document in documents) + end


def exchange(  # noqa: PLR0913  an exchange has that many parts; all are named
    surface: str,
    response: Any = None,
    *,
    request: Any = None,
    status: int | None = 200,
    headers: Sequence[tuple[str, str]] = (),
    request_headers: Sequence[tuple[str, str]] = (),
    **rest: Any,
) -> Exchange:
    """Return an exchange of ``document/surface``: bodies as bytes, or as JSON; a list of a response is a stream."""
    if isinstance(response, list):
        response = events(response)
    sent = request if isinstance(request, bytes) else json.dumps({**request_of(surface), **(request or {})}).encode()
    required = [
        (location.path[0], "x") for location in surface_of(surface).requires if location.source == "response.header"
    ]
    return Exchange.build(
        method=next(iter(method_of(surface))),
        url=url_of(surface),
        request_headers=request_headers,
        request_body=sent,
        status_code=status,
        response_headers=[*required, *headers],
        response_body=response
        if isinstance(response, bytes)
        else b""
        if response is None
        else json.dumps(response).encode(),
        **rest,
    )


def facts(surface: str, response: Any = None, **parts: Any) -> CallFacts:
    """Return the facts of an exchange of ``document/surface``."""
    found = extract(exchange(surface, response, **parts), REGISTRY)
    assert found is not None
    assert f"{found.provider}/{found.surface}" == surface
    return found
