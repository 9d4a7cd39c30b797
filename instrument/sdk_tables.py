"""What a provider document says of SDKs (``[sdk.<package>]``): facts for people, and where sessions have their ids."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from .frontmatter import Table

Attributes = tuple[str, ...]
"""The names of attributes that lead to a value, one inside the other."""

_FACTS: Final = (
    "version",
    "transport",
    "retries",
    "sessions",
    "conversation",
    "native_spans",
    "notes",
    "checked",
)
_PATH: Final = re.compile(r"[A-Za-z_]\w*(\.[A-Za-z_]\w*)*")


def session_places(table: Table) -> tuple[Attributes, ...]:
    """Return where the session objects of a document's SDKs have their ids.

    Args:
        table: the document's ``sdk`` table.

    Raises:
        DocumentError: if a key is unknown or is no path of attributes.
    """
    found: list[Attributes] = []
    for package in table.values:
        sdk = table.table(package)
        sdk.note(*_FACTS)
        expected = "names of attributes such as 'session_id' or 'options.session_id'"
        found += [sdk.parsed("session_id", _attributes, text, expected) for text in sdk.texts("session_id")]
        sdk.finish()
    return tuple(found)


def _attributes(text: str) -> Attributes:
    if not _PATH.fullmatch(text):
        raise ValueError(f"{text!r} is none")
    return tuple(text.split("."))
