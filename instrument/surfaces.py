"""A surface: one API shape of a provider, compiled from its table in the provider's document."""

from __future__ import annotations

import re
from dataclasses import dataclass
from decimal import Decimal, InvalidOperation
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Final

from . import paths
from .continuing import ContinuingRules, continuing_rules
from .frontmatter import Table
from .message_rules import MessageRules, message_rules, read_paths
from .paths import Expression, Path
from .usage import UsageRules

if TYPE_CHECKING:
    from collections.abc import Mapping

    from .redact import ContentRules

SOURCES: Final = (
    "request.body",
    "response.body",
    "response.last",  # of a stream's events only the last that has a value there: what it settled on
    "response.sole",  # only where the whole response has one value there
    "request.header",
    "response.header",
    "url",
    "url.query",
)
FIELDS: Final = (
    "request_model",
    "response_model",
    "response_id",
    "previous_response_id",
    "request_id",
    "conversation",
    "session",
    "user",
    "finish_reasons",
    "service_tier",
    "error_type",
    "created_at",
)
COUNTS: Final = ("input_tokens", "output_tokens", "cache_read_tokens", "cache_write_tokens", "reasoning_tokens")
_FACTS: Final = (
    "stateful",
    "metadata_fields",
    "caching",
    "tiers",
    "retention",
    "sources",
    "notes",
    "checked",
    "sdk_types",
    "explained",
)


@dataclass(frozen=True, slots=True)
class Location:
    """Where a value stands in an exchange, such as ``response.body:choices[].message.tool_calls[].id``."""

    source: str
    path: Path

    @classmethod
    @lru_cache(maxsize=1 << 13)
    def parse(cls, text: str) -> Location:
        """Read ``source:path``.

        Raises:
            ValueError: if the source is unknown or the path is none.
        """
        source, colon, path = text.partition(":")
        if not colon or source not in SOURCES:
            raise ValueError(f"{text!r} does not begin with one of {', '.join(SOURCES)}")
        if source.endswith(".header"):
            name, filters, value = path.partition("=")
            return cls(source, (name.lower(), value) if filters else (name.lower(),))
        if source in ("url", "url.query"):
            return cls(source, (path,))
        return cls(source, paths.parse(path))

    def __str__(self) -> str:
        """Return it as documents write it."""
        return f"{self.source}:{paths.written(self.path)}"


@dataclass(frozen=True, slots=True)
class StreamRules:
    """How a stream carries the response: envelopes around it, and what marks its regular end."""

    unwrap: tuple[Path, ...] = ()
    done_types: frozenset[str] = frozenset()
    done_paths: tuple[Path, ...] = ()
    always: bool = False


@dataclass(frozen=True, slots=True)
class Surface:
    """One API shape: how to recognise its requests and where everything stands in them."""

    provider: str
    home: str
    name: str
    operation: str
    methods: frozenset[str]
    template: str
    path: re.Pattern[str]
    tail: tuple[str, int]
    is_billed: bool
    requires: tuple[Location, ...]
    fields: Mapping[str, tuple[Location, ...]]
    identifiers: Mapping[str, tuple[Location, ...]]
    billing: Mapping[str, tuple[Location, ...]]
    usage: UsageRules
    stream: StreamRules
    messages: MessageRules
    continuing: ContinuingRules
    rules: ContentRules
    hands_out: tuple[str, ...]
    plain: Mapping[str, frozenset[str]]
    facts: Mapping[str, Any]


def compile_surface(provider: str, home: str, table: Table, rules: ContentRules) -> Surface:
    """Return the surface of one ``[[surface]]`` table, inheritance already applied; ``home`` has its shape first.

    Raises:
        DocumentError: if a key is unknown, missing or cannot be read.
    """
    table.note("like", *_FACTS)
    fields = _locations(table.table("fields"), FIELDS)
    hands_out = table.texts("hands_out")
    surface = Surface(
        provider=provider,
        home=home,
        name=table.text("name"),
        operation=table.text("operation"),
        methods=frozenset(table.texts("method", ("POST",))),
        template=table.text("path"),
        path=table.parsed("path", path_pattern, table.text("path"), "a path such as /v1/models/{model}:run"),
        tail=path_tail(table.text("path")),
        is_billed=table.flag("billed", default=True),
        requires=tuple(_location(table, "requires", text) for text in table.texts("requires")),
        fields=fields,
        identifiers=_locations(table.table("identifiers")),
        billing=_locations(table.table("billing")),
        usage=_usage(table.table("usage")),
        stream=_stream(table.table("stream")),
        messages=message_rules(table.table("messages")),
        continuing=continuing_rules(table.table("continuing")),
        rules=rules.with_secrets(hands_out) if hands_out else rules,
        hands_out=hands_out,
        plain=_plain(table),
        facts={name: table.values[name] for name in _FACTS if name in table.values},
    )
    table.finish()
    return surface


def _plain(table: Table) -> dict[str, frozenset[str]]:
    """Return, by what the price may depend on, the values in lower case that are billed at the plain price."""
    said = table.mapping("plain")
    said["service_tier"] = (*table.texts("tiers")[:1], *said.get("service_tier", ()))
    return {name: frozenset(value.lower() for value in values) for name, values in said.items()}


def path_pattern(text: str) -> re.Pattern[str]:
    """Return the pattern of a URL path: ``{name}`` captures one segment, ``**`` is any prefix or any segments between.

    Before a ``/`` a segment ends there, at the end of the path or before a ``:`` at the first colon as well.

    Raises:
        ValueError: if it does not begin with ``/`` or ``**``, or names a segment twice.
    """
    if not text.startswith(("/", "**")):
        raise ValueError("it does not begin with '/' or '**'")
    prefix, body = (r".*", text[2:]) if text.startswith("**") else ("", text)
    # Ids may hold a colon, written as it is; behind the last segment a colon begins a word of its own.
    escaped = re.sub(r"\\\{(\w+)\\\}(?=/)", r"(?P<\1>[^/]+)", re.escape(body))
    escaped = re.sub(r"\\\{(\w+)\\\}", r"(?P<\1>[^/:]+)", escaped)
    escaped = escaped.replace(r"/\*\*/", "/(?:.*/)?")
    try:
        return re.compile(f"{prefix}{escaped}/?")
    except re.error as error:
        raise ValueError(str(error)) from error


def path_tail(text: str) -> tuple[str, int]:
    """Return the last word that all paths of this shape share, and how many segments stand behind it: 0 or 1.

    The word is what follows a segment's last ``:``; it is ``*`` where paths end in two captured segments.
    """
    segments = text.rstrip("/").split("/")
    for behind, segment in enumerate(reversed(segments[-2:])):
        word = segment.rpartition(":")[2]
        if "{" not in word and "*" not in word:
            return word, behind
    return "*", 0


def _location(table: Table, name: str, text: str) -> Location:
    return table.parsed(name, Location.parse, text, "a location such as 'response.body:usage.id'")


def _locations(table: Table, known: tuple[str, ...] | None = None) -> dict[str, tuple[Location, ...]]:
    names = known if known is not None else tuple(table.values)
    found = {name: tuple(_location(table, name, text) for text in table.texts(name)) for name in names}
    table.finish()
    return {name: locations for name, locations in found.items() if locations}


def _expressions(table: Table) -> dict[str, Expression]:
    return {
        name: table.parsed(name, Expression.parse, " | ".join(texts), "a sum of paths such as 'a + b?'")
        for name in table.values
        if (texts := table.texts(name))
    }


def _named_paths(table: Table) -> dict[str, Path]:
    return {key: table.parsed(key, paths.parse, table.text(key), "a path") for key in table.values}


def _headers(table: Table) -> dict[str, str]:
    return {key: table.text(key).lower() for key in table.values}


def _number(text: str) -> Decimal:
    try:
        number = Decimal(text)
    except InvalidOperation:
        number = Decimal("NaN")
    if not number.is_finite():
        raise ValueError(f"{text!r} is not a number")
    return number


def _usage(table: Table) -> UsageRules:
    merge = table.text("merge", "update")
    if merge not in ("update", "last", "max", "sum"):
        raise table.fail(
            "merge",
            "'update' (later figures replace earlier ones key by key), 'max' (larger ones do), 'last' or 'sum'",
        )
    counts = Table(table.file, table.where, {name: table.values[name] for name in COUNTS if name in table.values})
    table.note(*COUNTS)
    beside, billed = read_paths(table, "reasoning_beside_output_if_total"), read_paths(table, "billed_cost")
    paid, paid_if = read_paths(table, "paid_beside"), read_paths(table, "paid_beside_if")
    unit = table.parsed("billed_cost_unit_usd", _number, table.text("billed_cost_unit_usd", "1"), "a number in quotes")
    rules = UsageRules(
        at=read_paths(table, "at"),
        beside=_named_paths(table.table("beside")),
        counted=_named_paths(table.table("counted")),
        moments=_named_paths(table.table("moments")),
        headers=_headers(table.table("headers")),
        merge=merge,
        counts=_expressions(counts),
        cache_write_by_ttl=_expressions(table.table("cache_write_by_ttl")),
        details=_expressions(table.table("details")),
        reasoning_beside_output_if_total=beside[0] if beside else None,
        billed_cost=billed[0] if billed else None,
        paid_beside=paid[0] if paid else None,
        paid_beside_if=paid_if[0] if paid_if else None,
        billed_cost_unit_usd=unit,
    )
    table.finish()
    return rules


def _stream(table: Table) -> StreamRules:
    rules = StreamRules(
        unwrap=read_paths(table, "unwrap"),
        done_types=frozenset(table.texts("done_types")),
        done_paths=read_paths(table, "done_paths"),
        always=table.flag("always", default=False),
    )
    table.finish()
    return rules
