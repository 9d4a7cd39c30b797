"""The path language of provider documents: where in a JSON document a value stands.

``a.b`` steps into objects, ``a[].b`` into every element of a list, ``a[kind=x].b`` into the elements (or the object)
whose ``kind`` is ``x``; ``*`` is any key. A usage expression adds and subtracts paths (``a + b?``; ``?`` marks a
part that may be missing) and lists alternatives (``a | b``; the first that applies); a path through a list sums what it
finds there.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Final, NamedTuple, cast

if TYPE_CHECKING:
    from collections.abc import Iterator

Path = tuple[str, ...]
"""Steps: a key, ``*`` for any key, ``[]`` for every element, ``[key=value]`` for those that have this value."""

ROOT: Final = "$"
"""The path of a document itself."""

MAX_COUNT: Final = 10**15
"""Exclusive bound of a count. One that is larger is no count of anything, and sums of a few would leave 64 bits."""

_STEP = re.compile(r"(\*|[A-Za-z0-9_$@:-]+)((?:\[(?:\w+=[\w:-]+)?\])*)")
_ELEMENTS = re.compile(r"\[.*?\]")
_SIGNED = re.compile(r"([+-])\s+(.*?)(?=\s+[+-]\s|\s*$)")


@lru_cache(maxsize=1 << 14)
def parse(text: str) -> Path:
    """Return the steps of a path.

    Raises:
        ValueError: if ``text`` is not a path.
    """
    steps: list[str] = []
    for part in text.strip().split("."):
        match = _STEP.fullmatch(part)
        if match is None:
            raise ValueError(f"{text!r} is not a path such as 'choices[].message.id'")
        steps.append(match[1])
        steps.extend(_ELEMENTS.findall(match[2]))
    return tuple(steps[1:] if steps[0] == ROOT else steps)


def written(path: Path) -> str:
    """Return a path as documents write it."""
    text = "".join(step if step[0] == "[" else f".{step}" for step in path).removeprefix(".")
    return text if text and text[0] != "[" else f"{ROOT}{text}"


def find(node: Any, path: Path, start: int = 0) -> Iterator[Any]:
    """Yield every value at ``path`` in ``node``; nothing where the document has another shape."""
    for index in range(start, len(path)):
        step = path[index]
        if step[0] == "[":
            for item in _elements(node, step):
                yield from find(item, path, index + 1)
            return
        if not isinstance(node, dict):
            return
        fields = cast("dict[str, Any]", node)
        if step == "*":
            for item in fields.values():
                yield from find(item, path, index + 1)
            return
        if step not in fields:
            return
        node = fields[step]
    yield node


def _elements(node: Any, step: str) -> Iterator[Any]:
    key, filters, value = step[1:-1].partition("=")
    if not filters:
        yield from cast("list[Any]", node) if isinstance(node, list) else ()
        return
    for item in cast("list[Any]", node) if isinstance(node, list) else [node]:
        if isinstance(item, dict):
            found = cast("dict[str, Any]", item).get(key)
            if found == value or (found is True and value == "true"):
                yield cast("Any", item)


def first(node: Any, path: Path) -> Any:
    """Return the first value at ``path`` that is not null, else None."""
    return next((value for value in find(node, path) if value is not None), None)


class Term(NamedTuple):
    """A part of a sum: where it stands, whether it may be missing, and what it is multiplied with (1 or -1)."""

    path: Path
    is_optional: bool
    sign: int


@dataclass(frozen=True, slots=True)
class Expression:
    """A count computed from a usage object: alternatives of sums of paths."""

    alternatives: tuple[tuple[Term, ...], ...]

    @classmethod
    @lru_cache(maxsize=1 << 13)
    def parse(cls, text: str) -> Expression:
        """Read ``"a + b? - c | d"``.

        Raises:
            ValueError: if a part is not a path.
        """
        return cls(tuple(tuple(map(_term, _SIGNED.findall(f"+ {sum_.strip()}"))) for sum_ in text.split("|")))

    def count(self, usage: dict[str, Any]) -> int | None:
        """Return the count, or None where the usage object does not say."""
        for terms in self.alternatives:
            values = [(_count(usage, term.path), term) for term in terms]
            present = [value * term.sign for value, term in values if value is not None]
            if present and all(term.is_optional or value is not None for value, term in values):
                return as_count(sum(present))
        return None


def _term(signed: tuple[str, str]) -> Term:
    sign, text = signed
    return Term(parse(text.strip().removesuffix("?")), text.strip().endswith("?"), -1 if sign == "-" else 1)


def _count(usage: dict[str, Any], path: Path) -> int | None:
    counts = [count for value in find(usage, path) if (count := as_count(value)) is not None]
    return sum(counts) if counts else None


def as_count(value: Any) -> int | None:
    """Return a non-negative whole number from JSON as int, anything else, and what no call counts, as None."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    return int(value) if 0 <= value < MAX_COUNT else None  # NaN is in no range
