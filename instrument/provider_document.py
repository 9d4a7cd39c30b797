"""One provider document: read from Markdown, checked, and what its surfaces inherit applied."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from . import frontmatter
from .billing import Billing, billing_of
from .exports import Export, export
from .frontmatter import DocumentError, Table
from .headers import named_places
from .inheritance import Fronts, content_rules, home, inherited, secret_patterns
from .price_rules import PriceRule, Route, price_rule, route
from .sdk_tables import Attributes, session_places
from .surfaces import Surface, compile_surface

if TYPE_CHECKING:
    from collections.abc import Mapping

_FACTS: Final = (
    "checked",
    "sources",
    "api_stateful",
    "sdk_session_support",
    "capabilities",
    "headers",
    "cost_truth",
)
ANY_HOST: Final = "*"


@dataclass(frozen=True, slots=True)
class ProviderDocument:
    """One provider: its hosts, its surfaces, its facts and its prose.

    Attributes:
        id: name of the document, such as the file's stem.
        otel_name: the value of ``gen_ai.provider.name``.
        price_provider: the provider's id in the price book.
        hosts: host names; ``*`` in one is any text, ``*`` alone any host no other document has.
        session_ids: where the session objects of its SDKs have their ids.
        request_headers: headers of its requests that are kept.
        billing: who sends the bill, and what of a failed call is on it.
        prices: what it says of prices that the price book lacks.
        upstreams: whose prices hold for the models that it routes.
        exports: what its customers can download of usage and costs.
        front: the whole front matter, for reports.
        prose: the Markdown below it.
    """

    id: str
    name: str
    otel_name: str
    price_provider: str
    hosts: tuple[str, ...]
    surfaces: tuple[Surface, ...]
    session_ids: tuple[Attributes, ...]
    request_headers: tuple[str, ...]
    billing: Billing
    prices: tuple[PriceRule, ...]
    upstreams: tuple[Route, ...]
    exports: tuple[Export, ...]
    front: Mapping[str, Any]
    prose: str


def parse_documents(texts: Mapping[str, str]) -> tuple[ProviderDocument, ...]:
    """Return the documents in ``texts`` (file name to Markdown), in order of their ids.

    Raises:
        DocumentError: naming file, key and what was expected.
    """
    documents, refused = read_documents(texts)
    if refused:
        raise refused[0]
    return documents


def read_documents(texts: Mapping[str, str]) -> tuple[tuple[ProviderDocument, ...], list[DocumentError]]:
    """Return the documents in ``texts`` (file name to Markdown) in order of their ids, and why others were refused."""
    refused: list[DocumentError] = []
    parts: dict[str, tuple[str, dict[str, Any], str]] = {}
    secrets: list[str] = []
    for file, text in sorted(texts.items()):
        try:
            front, prose = frontmatter.split(file, text)
            secrets += secret_patterns(file, front)
            parts[file.removesuffix(".md")] = (file, front, prose)
        except DocumentError as error:
            refused.append(error)
    fronts = {stem: (file, front) for stem, (file, front, _) in parts.items()}
    documents: list[ProviderDocument] = []
    owners: dict[str, str] = {}
    for file, front, prose in parts.values():
        try:
            document = _document(file, front, prose, fronts, secrets)
            _take_hosts(document, owners)
        except DocumentError as error:
            refused.append(error)
        else:
            documents.append(document)
    return tuple(documents), refused


def _named(stem: str, fronts: Fronts) -> Table:
    """Return the front matter of a document, an empty one where there is no such document."""
    file, front = fronts.get(stem, (stem, {}))
    return Table(file, "", front)


def _routes(table: Table) -> list[Route]:
    return [route(item) for item in table.tables("upstream")]


def _take_hosts(document: ProviderDocument, owners: dict[str, str]) -> None:
    hosts = [host.lower() for host in document.hosts if host != ANY_HOST]
    for host in hosts:
        if host in owners:
            raise DocumentError(f"{document.id}.md", "hosts", f"a host of its own: {host} is in {owners[host]}.md")
    owners.update(dict.fromkeys(hosts, document.id))


def _document(file: str, front: dict[str, Any], prose: str, fronts: Fronts, secrets: list[str]) -> ProviderDocument:
    table = Table(file, "", front)
    table.note(*_FACTS, "content")
    identity = table.text("id")
    if f"{identity}.md" != file:
        raise table.fail("id", f"{file.removesuffix('.md')!r}, the name of the file")
    written = table.tables("surface")
    tables = [Table(file, item.where, inherited(file, item.values, fronts, ())) for item in written]
    rules = content_rules(file.removesuffix(".md"), fronts, secrets)
    surfaces = tuple(compile_surface(identity, home(identity, item.values, fronts), item, rules) for item in tables)
    for item, surface in zip(tables, surfaces, strict=True):
        if [other.name for other in surfaces].count(surface.name) > 1:
            raise item.fail("name", f"a name of its own: two surfaces are called {surface.name!r}")
    document = ProviderDocument(
        id=identity,
        name=table.text("name"),
        otel_name=table.text("otel_provider_name", identity),
        price_provider=table.text("price_provider", identity),
        hosts=table.texts("hosts", None),
        surfaces=surfaces,
        session_ids=session_places(table.table("sdk")),
        request_headers=(*table.texts("request_headers"), *named_places(front)),
        billing=billing_of(table),
        prices=tuple(price_rule(item, identity) for item in table.tables("price")),
        upstreams=(*_routes(table), *_routes(_named(table.text("upstreams_of", ""), fronts))),
        exports=tuple(export(item) for item in table.tables("export")),
        front=front,
        prose=prose,
    )
    table.finish()
    return document
