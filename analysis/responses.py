"""Importing responses that an application has kept in its own database, exported as JSON lines.

Each is read by the very rules that read live traffic, as far as it goes: what the line does not say is unknown. A
response that has an id is one call however often it is there, under whatever message; one without is told by its line.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Final

from ..instrument import attributes as keys
from ..instrument import identifiers as ids
from ..instrument.context import Conversation
from ..instrument.facts import facts_of
from ..instrument.recognising import Recogniser
from .providers import find_document
from .response_lines import FIELDS, Line, SkippedError, parse_line, read_lines
from .taking import CallName, ImportReport, Taker, canonical_json
from .unpacking import UnreadableError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from ..exporters.store import Store
    from ..instrument.documents import ProviderDocument, Registry
    from ..instrument.facts import CallFacts
    from ..instrument.recognising import Recognised
    from .unpacking import Progress

MESSAGE_ID: Final = "app_message_id"
"""Name among a call's identifiers of the id that the application's own message has."""
_REMEMBERED_NAMES: Final = 1000


def import_responses(  # noqa: PLR0913  what to read, where to, and four things that can be said of it
    paths: Sequence[Path],
    store: Store,
    *,
    provider: str | None = None,
    fields: Mapping[str, str] | None = None,
    progress: Progress | None = None,
    registry: Registry | None = None,
) -> list[ImportReport]:
    """Import raw provider responses from files of JSON lines (plain or gzip) into a store.

    A line is an object with ``response`` and, where they are known, ``request``, ``headers``, ``provider``, ``model``,
    ``conversation_id``, ``message_id``, ``user_id`` and ``timestamp``. Nothing of what was said is kept. What is in the
    store already, imported or recorded live, is not taken again.

    Args:
        paths: the files.
        store: where the calls go.
        provider: whose responses they are where a line does not say it: id or name of its document, or a host. Without
            it a response is told by its shape, which several providers share.
        fields: names of fields to what they are called in the files, where that differs.
        progress: told how far the current file is read.
        registry: provider documents; default the shipped ones.

    Returns:
        A report a file: lines that could not be taken are counted by reason, each with its first line.

    Raises:
        ValueError: if no document has the name ``provider``, or ``fields`` names one that there is not.
        OSError: if the store cannot be written.
        KeyFileError: if the store's key file holds something else.
    """
    unknown = sorted(set(fields or {}) - set(FIELDS))
    if unknown:
        raise ValueError(f"no field {unknown[0]!r}; known: {', '.join(FIELDS)}")
    taker = Taker(store, registry)
    default = find_document(taker.registry, provider) if provider is not None else None
    importer = _Importer(taker, default, fields or {})
    reports = [importer.import_file(path, progress) for path in paths]
    taker.close()
    return reports


class _Importer:
    """Takes lines into a store."""

    def __init__(self, taker: Taker, default: ProviderDocument | None, fields: Mapping[str, str]) -> None:
        self._taker, self._default, self._fields = taker, default, fields
        self._recogniser = Recogniser(taker.registry)
        self._captured = taker.captured_responses()
        self._documents: dict[str, ProviderDocument | None] = {}

    def import_file(self, path: Path, progress: Progress | None) -> ImportReport:
        report = ImportReport(path)
        copies: Counter[str] = Counter()
        try:
            for index, (number, text) in enumerate(read_lines(path, progress)):
                try:
                    is_new = self._import_line(text, f"{path.name}#{index}", copies)
                except SkippedError as error:
                    report.skip(str(error), f"line {number}")
                    continue
                report.taken += is_new
                report.duplicates += not is_new
        except UnreadableError as error:
            report.error = str(error)
        return report

    def _import_line(self, text: bytes | None, source: str, copies: Counter[str]) -> bool:
        """Write a line's row; returns whether it is a call that was not there.

        Raises:
            SkippedError: if it is none.
        """
        line = parse_line(text, self._fields)
        found = self._recognised(line)
        response_id = found.reading.first_text("response_id")
        name = _name(line, source, copies, has_id=response_id is not None)
        model = found.reading.last_text("response_model")
        captured = (response_id, model, found.usage.input_tokens, found.usage.output_tokens)
        if self._taker.has(name.span_id) or captured in self._captured:
            return False
        facts = _facts(line, found, self._taker)
        said = Conversation(id=line.names.get("conversation_id"), user=line.names.get("user_id"))
        is_told = facts.is_stream or line.exchange.request_body is not None
        self._taker.add(facts, name, said, **({} if is_told else {keys.IS_STREAM: None}))
        return True

    def _recognised(self, line: Line) -> Recognised:
        document = self._document(line.names["provider"]) if "provider" in line.names else self._default
        found = self._recogniser.recognised(line.exchange, document)
        if found is None:
            raise SkippedError("no shape that one provider's responses alone have (say whose it is)")
        if not found.is_response:
            raise SkippedError(f"no response of {found.match.document.id}")
        return found

    def _document(self, name: str) -> ProviderDocument:
        if name not in self._documents:
            if len(self._documents) >= _REMEMBERED_NAMES:
                self._documents.clear()
            try:
                self._documents[name] = find_document(self._taker.registry, name)
            except ValueError:
                self._documents[name] = None
        document = self._documents[name]
        if document is None:
            raise SkippedError("a provider that has no document")
        return document


def _name(line: Line, source: str, copies: Counter[str], *, has_id: bool) -> CallName:
    """Return who a call is: one without an id of its own by what the application says of it as well."""
    if has_id:
        return CallName.of(source, canonical_json(line.documents))
    said = [line.names.get(key) for key in ("conversation_id", "message_id")]
    return CallName.of(source, canonical_json([line.documents, said, line.exchange.started_ns]), copies)


def _facts(line: Line, found: Recognised, taker: Taker) -> CallFacts:
    """Return what a line says: no digests without a request, since they are of its messages."""
    asked = line.exchange.request_body is not None
    facts = facts_of(found.reading, found.match, found.usage, taker.key if asked else None)
    named = {name: list(values) for name, values in facts.identifiers.items()}
    ids.add(named, MESSAGE_ID, [line.names.get("message_id")], found.match.surface.rules)
    known: dict[str, Any] = {key: value for key, value in facts.raw_metadata.items() if value not in (None, "", {})}
    model = facts.request_model or line.names.get("model")
    return replace(facts, identifiers=named, raw_metadata=known, request_model=model)
