"""A request and its answer made from what a document says of a surface: every identifier and figure where it says.

This is the reading of documents turned round: where extraction looks a path up, a value is put there.
"""

from __future__ import annotations

import json
from contextlib import suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any
from urllib.parse import urlencode, urlsplit

from made_exchanges import REGISTRY, events, method_of, url_of
from placing import DoesNotFitError, placed

if TYPE_CHECKING:
    from collections.abc import Iterable
    from decimal import Decimal

    from turnledger.instrument.paths import Path
    from turnledger.instrument.surfaces import Location, Surface

ERROR_TYPE = "made_error"
_CHATTY = ("chat", "text_completion", "generate_content")


@dataclass
class Made:
    """One request and its answer, and what must be read from them."""

    surface: Surface
    request: Any = None
    answer: Any = None
    figures: Any = None
    query: dict[str, str] = field(default_factory=dict)
    request_headers: dict[str, str] = field(default_factory=dict)
    headers: dict[str, str] = field(default_factory=dict)
    values: dict[Location, Any] = field(default_factory=dict)
    identifiers: dict[str, str] = field(default_factory=dict)
    counts: dict[str, int] = field(default_factory=dict)
    by_ttl: dict[str, int] = field(default_factory=dict)
    details: dict[str, int] = field(default_factory=dict)
    billed_cost: Decimal | None = None

    @property
    def method(self) -> str:
        """Return the HTTP method."""
        return method_of(f"{self.surface.provider}/{self.surface.name}")[0]

    @property
    def path(self) -> str:
        """Return the URL behind the host."""
        path = urlsplit(url_of(f"{self.surface.provider}/{self.surface.name}")).path
        return path + (f"?{urlencode(self.query)}" if self.query else "")

    @property
    def content(self) -> bytes:
        """Return the request's body."""
        return b"" if self.request is None else json.dumps(self.request).encode()

    @property
    def plain(self) -> Any:
        """Return the answer in one piece."""
        return overlaid(self.answer, self.figures)

    @property
    def events(self) -> list[bytes]:
        """Return the answer as a stream: what it is, then what it used, then its end."""
        envelope, rules = (self.surface.stream.unwrap or ((),))[0], self.surface.stream
        parts = [placed(None, envelope, self.answer or {})]
        if self.figures:
            parts.append(placed(None, envelope, self.figures))
        parts += [{"type": kind} for kind in sorted(rules.done_types)[:1]]
        parts += [placed(None, path, "stop") for path in rules.done_paths[:1]]
        return [*(events([part]) for part in parts), b"data: [DONE]\n\n"]

    @property
    def error(self) -> dict[str, Any]:
        """Return the body of a failure, its type where the document looks for it first."""
        first = next(iter(self.surface.fields.get("error_type", ())), None)
        return placed({}, first.path, ERROR_TYPE) if first and first.source.startswith("response.b") else {}

    def put(self, location: Location, value: Any) -> None:
        """Put a value at a location.

        Raises:
            DoesNotFitError: if something of another shape stands in the way.
        """
        if location.source == "request.body":
            self.request = placed(self.request, location.path, value)
        elif location.source in ("response.body", "response.last", "response.sole"):
            self.answer = placed(self.answer, location.path, value)
        elif location.source == "url.query":
            self.query[location.path[0]] = value
        else:
            (self.headers if location.source == "response.header" else self.request_headers)[location.path[0]] = value
        self.values[location] = value


def overlaid(below: Any, above: Any) -> Any:
    """Return two JSON objects laid over each other."""
    if isinstance(below, dict) and isinstance(above, dict):
        return {**below, **{key: overlaid(below.get(key), value) for key, value in above.items()}}
    return below if above is None else above


def made(surface: Surface) -> Made:
    """Return a request and an answer of a surface that have all that its document names."""
    found = Made(surface)
    for name, locations in surface.identifiers.items():
        found.identifiers.update(_identified(found, name, locations))
    for location in surface.requires:
        _require(found, location)
    _figures(found)
    return found


def _identified(found: Made, name: str, locations: Iterable[Location]) -> dict[str, str]:
    """Put an identifier at the first of its locations that this request has; two names may share one."""
    for location in locations:
        if location.source == "url":
            if location.path[0] in found.surface.path.groupindex:
                return {name: "m-1" if location.path[0] == "model" else f"{location.path[0]}_1"}
        elif location.source != "request.body" or found.method not in ("GET", "DELETE"):
            with suppress(DoesNotFitError):
                if location not in found.values:
                    found.put(location, f"{name.replace('_', '-')}-1")
                return {name: found.values[location]}
    return {}


def _require(found: Made, location: Location) -> None:
    if location in found.values:
        return
    value: Any = [{"role": "user"}] if location.path[-1] in ("messages", "contents") else "m-1"
    if location.source == "response.body":  # that it is there is the mark, such as done = false
        value = False
    with suppress(DoesNotFitError):  # an identifier stands below it: it has a value
        found.put(location, value)


def _figure(place: int) -> int:
    """Return a number like no other; earlier ones are larger, so that a part taken from a whole leaves something."""
    return 100_000 - 7 * place


def _figures(found: Made) -> None:
    """Put a number of its own at every place of the first way to count each figure."""
    usage = found.surface.usage
    if not usage.at:
        return
    numbers: dict[Path, int] = {}
    object_: Any = None
    for counts, expressions in (
        (found.counts, usage.counts),
        (found.by_ttl, usage.cache_write_by_ttl),
        (found.details, usage.details),
    ):
        for name, expression in expressions.items():
            terms = expression.alternatives[0]
            try:
                for path in (term.path for term in terms):
                    if path not in numbers:
                        object_ = placed(object_, path, _figure(len(numbers)))
                        numbers[path] = _figure(len(numbers))
            except DoesNotFitError:
                continue
            counts[name] = sum(term.sign * numbers[term.path] for term in terms)
    if usage.billed_cost:
        object_ = placed(object_, usage.billed_cost, 5)
        found.billed_cost = 5 * usage.billed_cost_unit_usd
    at = usage.at[0]
    root = {} if at and "=" in at[0] else None  # a document chosen by what it is, not an element of one
    found.figures = placed(root, at, object_) if at else object_


def streams(surface: Surface) -> bool:
    """Tell whether the document claims that answers of this surface may come as a stream."""
    claimed = "streaming" in REGISTRY.documents[surface.provider].front.get("capabilities", ())
    return surface.stream.always or (claimed and surface.is_billed and surface.operation in _CHATTY)
