"""Every identifier of an exchange: the ones its document names, and a generic sweep for the ones nobody named yet."""

from __future__ import annotations

import re
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Final, cast

from .redact import MAX_DEPTH, MAX_IDENTIFIER, ContentRules

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from .exchange import Headers

UNDOCUMENTED: Final = "undocumented:"
"""Prefix of the name under which a swept identifier is kept; what follows says where it stood."""

MAX_VALUES: Final = 512
"""Distinct values kept under one name."""

MAX_NAMES: Final = 256
"""Distinct names kept of swept identifiers: an object keyed by ids has one for each of them."""

_ID_WORD: Final = re.compile(
    r"(?:^(?:id|ids|uuid|guid|arn)$|_(?:id|ids|uuid|guid|arn)$|[a-z0-9](?:Id|Ids|ID|IDs|Uuid|UUID|Arn)$)"
)
_NAMED_KEYS: Final = frozenset({"system_fingerprint", "prompt_cache_key", "safety_identifier", "response_format_id"})
_ID_HEADER: Final = re.compile(
    r"(?:^|-)(?:id|ids|requestid|uploadid|ray|trace|traceresponse|traceparent|organization|project|fingerprint)(?:$|-context$)"
)

Identifiers = dict[str, list[str]]


@lru_cache(maxsize=4096)  # the same keys come with every call
def is_identifier_key(key: str) -> bool:
    """Tell whether a field of this name holds an identifier: ``id``, ``x_id``, ``xId``, ``xID`` and their plurals."""
    return _ID_WORD.search(key) is not None or key in _NAMED_KEYS


def is_identifier(value: Any, rules: ContentRules, key: str = "") -> bool:
    """Tell whether a value found where identifiers stand is one that may be kept."""
    return (
        isinstance(value, str)
        and 0 < len(value) <= MAX_IDENTIFIER
        and " " not in value
        and value.isprintable()  # no other whitespace is
        and not rules.is_secret(key, value)
    )


def add(identifiers: Identifiers, name: str, values: Iterable[Any], rules: ContentRules) -> None:
    """Keep the distinct identifiers among ``values`` under ``name``, in order of appearance."""
    for value in values:
        if isinstance(value, list):
            add(identifiers, name, cast("list[Any]", value), rules)
        elif is_identifier(value, rules):
            known = identifiers.setdefault(name, [])
            if value not in known and len(known) < MAX_VALUES:
                known.append(value)


def sweep(documents: Iterable[Any], where: str, rules: ContentRules) -> Iterator[tuple[str, str]]:
    """Yield ``(name, value)`` for every id-like leaf, each pair once, outside of opaque content."""
    seen: set[tuple[str, str]] = set()
    for document in documents:
        for found in _leaves(document, where, "", rules, 0):
            if found not in seen:
                seen.add(found)
                yield found


def _leaves(node: Any, path: str, key: str, rules: ContentRules, depth: int) -> Iterator[tuple[str, str]]:
    if isinstance(node, str):
        if is_identifier_key(key) and is_identifier(node, rules, key):
            yield path, node
    elif depth < MAX_DEPTH and not rules.hides(key):
        for name, child, inner in _children(node, path, key, rules):
            yield from _leaves(inner, child, name, rules, depth + 1)


def _children(node: Any, path: str, key: str, rules: ContentRules) -> Iterator[tuple[str, str, Any]]:
    """Yield key, path and value of what a node holds; what an element of a list stands under is the list's key."""
    if isinstance(node, dict):
        for name, value in cast("dict[str, Any]", node).items():
            if isinstance(value, str | dict | list):
                # A key can be content as well: what someone wrote, or a credential.
                yield name, f"{path}.{name if rules.kept_name(name) == name else '*'}", value
    elif isinstance(node, list):
        for value in cast("list[Any]", node):
            if isinstance(value, str | dict | list):
                yield key, f"{path}[]", value


@lru_cache(maxsize=4096)
def _is_id_header(name: str) -> bool:
    return _ID_HEADER.search(name) is not None


def sweep_headers(headers: Headers, where: str) -> Iterator[tuple[str, str]]:
    """Yield ``(name, value)`` for every header that by its name holds an identifier."""
    for name, value in headers:
        if _is_id_header(name) and value.strip():
            yield f"{where}.{name}", value.strip()


def undocumented(found: Iterable[tuple[str, str]], known: Identifiers, rules: ContentRules) -> Identifiers:
    """Return the swept identifiers whose values no documented name holds."""
    documented = {value for values in known.values() for value in values}
    rest: Identifiers = {}
    for name, value in found:
        if value not in documented and (len(rest) < MAX_NAMES or UNDOCUMENTED + name in rest):
            add(rest, UNDOCUMENTED + name, [value], rules)
    return rest
