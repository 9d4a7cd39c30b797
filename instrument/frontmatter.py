"""Reading the TOML front matter of a provider document: typed access, and errors that say file, key and what to do."""

from __future__ import annotations

import tomllib
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final, TypeVar, cast

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

_FENCE: Final = "+++"
T = TypeVar("T")


class DocumentError(ValueError):
    """A provider document that cannot be used: names the file, the key and what was expected."""

    def __init__(self, file: str, key: str, expected: str) -> None:
        super().__init__(f"{file}: {key}: expected {expected}")
        self.file, self.key, self.expected = file, key, expected


def split(file: str, text: str) -> tuple[dict[str, Any], str]:
    """Return the front matter and the prose of a document.

    Raises:
        DocumentError: if the document has no front matter between two ``+++`` lines, or it is not TOML.
    """
    lines = text.replace("\r\n", "\n").split("\n")
    if lines[0].strip() != _FENCE or _FENCE not in (line.strip() for line in lines[1:]):
        raise DocumentError(file, "front matter", "TOML between two lines of '+++' at the start of the file")
    end = next(number for number, line in enumerate(lines[1:], 1) if line.strip() == _FENCE)
    try:
        return tomllib.loads("\n".join(lines[1:end])), "\n".join(lines[end + 1 :]).strip()
    except tomllib.TOMLDecodeError as error:
        raise DocumentError(file, "front matter", f"valid TOML ({error})") from error


@dataclass
class Table:
    """One table of the front matter. Every key must be read: ``finish`` reports the ones nobody knows."""

    file: str
    where: str
    values: Mapping[str, Any]
    read: set[str] = field(default_factory=set[str])

    def key(self, name: str) -> str:
        """Return the full name of a key, for errors."""
        return f"{self.where}.{name}" if self.where else name

    def fail(self, name: str, expected: str) -> DocumentError:
        """Return the error for a key."""
        return DocumentError(self.file, self.key(name), expected)

    def text(self, name: str, default: str | None = None) -> str:
        """Return a non-empty string."""
        self.read.add(name)
        value = self.values.get(name, default)
        if not isinstance(value, str) or not (value or default == ""):
            raise self.fail(name, "a text in quotes")
        return value

    def flag(self, name: str, *, default: bool) -> bool:
        """Return true or false."""
        self.read.add(name)
        value = self.values.get(name, default)
        if not isinstance(value, bool):
            raise self.fail(name, "true or false")
        return value

    def texts(self, name: str, default: tuple[str, ...] | None = ()) -> tuple[str, ...]:
        """Return a list of strings; a single string counts as a list of one."""
        self.read.add(name)
        value = self.values.get(name, default)
        items = [value] if isinstance(value, str) else value
        if not isinstance(items, list | tuple) or not all(isinstance(item, str) for item in cast("list[Any]", items)):
            raise self.fail(name, "a list of texts")
        return tuple(cast("list[str]", items))

    def mapping(self, name: str) -> dict[str, tuple[str, ...]]:
        """Return a table whose values are strings or lists of strings."""
        table = self.table(name)
        return {key: table.texts(key) for key in table.values}

    def table(self, name: str) -> Table:
        """Return a sub-table, empty if it is missing."""
        self.read.add(name)
        value = self.values.get(name, {})
        if not isinstance(value, dict):
            raise self.fail(name, "a table")
        return Table(self.file, self.key(name), cast("dict[str, Any]", value))

    def tables(self, name: str) -> list[Table]:
        """Return an array of tables, such as ``[[surface]]``."""
        self.read.add(name)
        value = self.values.get(name, [])
        if not isinstance(value, list) or not all(isinstance(item, dict) for item in cast("list[Any]", value)):
            raise self.fail(name, f"tables written as [[{name}]]")
        items = cast("list[dict[str, Any]]", value)
        return [Table(self.file, f"{name}[{index}]", item) for index, item in enumerate(items)]

    def parsed(self, name: str, parse: Callable[[str], T], value: str, expected: str) -> T:
        """Return ``parse(value)``, turning its ValueError into the document's error."""
        try:
            return parse(value)
        except ValueError as error:
            raise self.fail(name, f"{expected} ({error})") from error

    def note(self, *names: str) -> None:
        """Mark keys as known that hold facts for people and reports, not for the extractor."""
        self.read.update(names)

    def finish(self) -> None:
        """Refuse keys nobody reads: a mistyped key would silently lose data."""
        unknown = sorted(set(self.values) - self.read)
        if unknown:
            known = ", ".join(sorted(self.read))
            raise self.fail(unknown[0], f"one of the known keys: {known}")
