"""The provider documents: loading ``provider_docs/*.md``, inheritance between surfaces, and matching of requests."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from functools import cache
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING, Final

from . import health
from .frontmatter import DocumentError
from .headers import HeaderList
from .provider_document import ANY_HOST, ProviderDocument, parse_documents, read_documents

__all__ = ["ANY_HOST", "Match", "ProviderDocument", "Registry", "load_documents", "parse_documents", "session_paths"]

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from importlib.resources.abc import Traversable

    from .sdk_tables import Attributes
    from .surfaces import Surface

FOLDER_VARIABLE: Final = "TURNLEDGER_DOCUMENTS"
_CACHE_SIZE: Final = 4096


@dataclass(frozen=True, slots=True)
class Match:
    """The surface a request belongs to, and what its path holds (``{model}`` and the like).

    ``is_known_host`` is False where the path alone looks like a call: some server speaks this shape, or something else.
    ``otherwise`` is the next surface of this path, for exchanges that lack what this one requires.
    """

    document: ProviderDocument
    surface: Surface
    captures: Mapping[str, str]
    is_known_host: bool = True
    otherwise: Match | None = None


class Registry:
    """All provider documents, the hosts the user mapped to them, and why some were ``refused``."""

    def __init__(
        self,
        documents: Iterable[ProviderDocument],
        hosts: Mapping[str, str] | None = None,
        refused: Iterable[DocumentError] = (),
    ) -> None:
        self.refused = tuple(refused)
        self.documents = {document.id: document for document in documents}
        self._by_host: dict[str, ProviderDocument] = {}
        for document in self.documents.values():
            self._by_host.update((host.lower(), document) for host in document.hosts)
        for host, provider in (hosts or {}).items():
            if provider not in self.documents:
                known = ", ".join(sorted(self.documents))
                raise ValueError(f"hosts: {host!r} is mapped to {provider!r}, which has no document; known: {known}")
            self._by_host[host.lower()] = self.documents[provider]
        self._patterns = [
            (re.compile(".*".join(map(re.escape, host.split("*")))), document)
            for host, document in self._by_host.items()
            if "*" in host and host != ANY_HOST
        ]
        # At a host that nobody names, a gateway is told by a header: it comes before what every server speaks.
        self._anywhere = sorted(
            (
                (document, surface)
                for document in self.documents.values()
                if ANY_HOST in document.hosts
                for surface in document.surfaces
            ),
            key=lambda item: not any(location.source.endswith(".header") for location in item[1].requires),
        )
        self.request_headers = HeaderList(
            name for document in self.documents.values() for name in document.request_headers
        )
        self._cache: dict[tuple[str, str, str], Match | None] = {}
        surfaces = [surface for document in self.documents.values() for surface in document.surfaces]
        # By method: the last words of paths, and the words before their last segments.
        self._tails: dict[str, tuple[set[bytes], set[bytes]]] = {}
        for surface in surfaces:
            for method in surface.methods:
                word, behind = surface.tail
                self._tails.setdefault(method, (set(), set()))[behind].add(word.encode())

    def named(self, name: str) -> ProviderDocument:
        """Return the document of a provider, by its id or by its OpenTelemetry name.

        Raises:
            ValueError: if there is none.
        """
        by_otel_name = {document.otel_name: document for document in self.documents.values()}
        found = self.documents.get(name) or by_otel_name.get(name)
        if found is None:
            raise ValueError(f"no provider document {name!r}; known: {', '.join(sorted(self.documents))}")
        return found

    def of_host(self, netloc: str) -> ProviderDocument | None:
        """Return the document that names the host, or that it was mapped to; None for any other host."""
        netloc = netloc.lower()
        host = netloc.rpartition(":")[0] if re.search(r":\d+$", netloc) else netloc
        exact = self._by_host.get(netloc) or self._by_host.get(host)
        if exact is not None:
            return exact
        return next((document for pattern, document in self._patterns if pattern.fullmatch(host)), None)

    def may_match(self, method: str, path: bytes) -> bool:
        """Tell by the method and a path's last words, in half a microsecond, whether ``match`` may find any."""
        tails = self._tails.get(method)
        if tails is None:
            return False
        last, before_last = tails
        parent, _, segment = path.rstrip(b"/").rpartition(b"/")
        if b"*" in last or segment.rpartition(b":")[2] in last:
            return True
        return bool(before_last) and parent.rpartition(b"/")[2].rpartition(b":")[2] in before_last

    def match(self, method: str, netloc: str, path: str) -> Match | None:
        """Return the surface of a request, or None if it is none of any provider's.

        Args:
            method: HTTP method, in capitals.
            netloc: host, with the port where the URL has one.
            path: path of the URL, undecoded, without the query.
        """
        key = (method, netloc, path)
        try:
            return self._cache[key]
        except KeyError:
            pass
        found = self._find(method, netloc.lower(), path)
        if len(self._cache) >= _CACHE_SIZE:
            self._cache.clear()  # paths with ids in them must not fill the memory
        self._cache[key] = found
        return found

    def _find(self, method: str, netloc: str, path: str) -> Match | None:
        document = self.of_host(netloc)
        candidates = self._anywhere if document is None else [(document, surface) for surface in document.surfaces]
        match: Match | None = None
        for owner, surface in reversed(candidates):
            if method in surface.methods and (found := surface.path.fullmatch(path)):
                match = Match(owner, surface, found.groupdict(), document is not None, match)
        return match


def load_documents(hosts: Mapping[str, str] | None = None) -> Registry:
    """Return the registry of the documents shipped with turnledger, and of those in the user's folder.

    The folder is named by the environment variable ``TURNLEDGER_DOCUMENTS``. A document there takes the place of a
    shipped one of the same name. One that cannot be read is refused and counted; all others are there.

    Args:
        hosts: additional hosts (``name`` or ``name:port``) mapped to a document's id.

    Raises:
        ValueError: if ``hosts`` names a provider that has no document.
    """
    documents, refused = _read(os.environ.get(FOLDER_VARIABLE, ""))
    return Registry(documents, hosts, refused)


@cache
def _read(folder: str) -> tuple[tuple[ProviderDocument, ...], tuple[DocumentError, ...]]:
    shipped = resources.files(__package__.rpartition(".")[0] + ".provider_docs")  # pyright: ignore[reportOptionalMemberAccess]
    texts = _texts(shipped)
    refused: list[DocumentError] = []
    if folder:
        try:
            texts |= _texts(Path(folder).expanduser())
        except (OSError, UnicodeDecodeError) as error:
            refused.append(DocumentError(folder, FOLDER_VARIABLE, f"a folder of Markdown files in UTF-8 ({error})"))
    documents, malformed = read_documents(texts)
    refused += malformed
    for error in refused:
        health.failed(f"documents.{error.file}", error)
    return documents, tuple(refused)


def session_paths() -> tuple[Attributes, ...]:
    """Return where the session objects of SDKs have their ids, by all documents in turn."""
    return _session_paths(os.environ.get(FOLDER_VARIABLE, ""))


@cache
def _session_paths(folder: str) -> tuple[Attributes, ...]:
    documents, _ = _read(folder)
    return tuple(dict.fromkeys(path for document in documents for path in document.session_ids))


def _texts(folder: Traversable) -> dict[str, str]:
    return {
        item.name: item.read_text(encoding="utf-8")
        for item in folder.iterdir()
        if item.name.endswith(".md") and item.name != "README.md"
    }
