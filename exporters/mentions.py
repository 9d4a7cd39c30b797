"""Where an identifier is mentioned in spans, and the same spans without it.

An identifier stands in columns of its own, in lists and maps, and inside JSON text: there in any string, also as a part
of it (a path, a compound id), and spelt as URLs and JSON spell it. A short one (fewer than ``SHORT`` characters) would
be found in all kinds of figures and names: it is looked for as a whole value, where identifiers stand.

Where it is the whole value, nothing stays; where it is a part, a word that no other erasure leaves: two conversations
must not become one by it. Of JSON text only strings, and numbers that are identifiers, are written anew.
"""

from __future__ import annotations

import hashlib
import json
import re
import secrets
from typing import TYPE_CHECKING, Any, Final, cast
from urllib.parse import quote, quote_plus

import pyarrow as pa
import pyarrow.compute as pc

from ..instrument.identifiers import is_identifier_key
from .schema import SPAN_SCHEMA

if TYPE_CHECKING:
    from collections.abc import Iterator

SHORT: Final = 8

_OURS: Final = frozenset(
    [
        *("provider", "surface", "operation", "kind", "scope", "span_status", "conversation_source", "digest_key"),
        *("request_digest", "prefix_digests", "answer_digests", "system_digest", "first_message_digest"),
        "message_sizes",
    ]
)
"""Columns whose values turnledger itself has given."""

_WHOLE: Final = frozenset(["call_id", "parent_call_id", "span_id", "parent_span_id", "trace_id"])
"""Columns of ids that turnledger has given, of hexadecimal digits: a part of one is not a mention."""

_IDENTITY: Final = _WHOLE | {
    *("response_id", "previous_response_id", "request_id", "conversation_id", "user_id", "session_id"),
    *("provider_conversation_id", "tags", "identifiers"),
}
_JSON: Final = frozenset(["raw_usage", "raw_metadata", "content", "attributes"])
_NEEDED: Final = frozenset(name for name in SPAN_SCHEMA.names if not SPAN_SCHEMA.field(name).nullable)
_NAMING: Final = frozenset(["user", "conversation", "session", "thread", "customer", "account"])
"""Keys that have an identifier for their value, as those do that say ``id``."""

_compute: Final = cast("Any", pc)  # the stubs know few of the types that it takes
_TOKEN: Final = re.compile(r'("(?:[^"\\]|\\.)*")(\s*:)?|-?\d[\d.eE+-]*', re.DOTALL)


class Mention:
    """One identifier, as it may be mentioned.

    Args:
        identifier: the identifier.

    Raises:
        ValueError: if it is empty or blank.
    """

    def __init__(self, identifier: str) -> None:
        if not identifier.strip():
            raise ValueError("an identifier is needed, not an empty text")
        self._identifier = identifier
        self._is_short = len(identifier) < SHORT
        self._mark = f"erased-{secrets.token_hex(4)}"
        escaped = {json.dumps(identifier)[1:-1], json.dumps(identifier, ensure_ascii=False)[1:-1]}
        in_url = {quote(identifier), quote(identifier, safe=""), quote_plus(identifier)} - {identifier}
        self._spellings = {identifier, *escaped, *in_url}
        patterns = [f"(?i:{re.escape(one)})" if one in in_url else re.escape(one) for one in self._spellings]
        self._inside = re.compile("|".join(sorted(patterns, key=len, reverse=True)))

    # --- which rows

    def rows(self, batch: pa.RecordBatch) -> dict[int, dict[str, Any]]:
        """Return the rows of a batch that mention it, as they are without it, by their places."""
        names = [name for name in batch.schema.names if self._is_searched(name)]
        found = sorted({row for name in names for row in self._candidates(name, batch.column(name))})
        without = {row: self._without(batch.slice(row, 1).to_pylist()[0]) for row in found}
        return {row: clean for row, (clean, changed) in without.items() if changed}

    def _is_searched(self, name: str) -> bool:
        return name not in _OURS and (not self._is_short or name in _IDENTITY or name in _JSON)

    def _candidates(self, name: str, column: Any) -> Iterator[int]:
        whole = name in _WHOLE or (self._is_short and name not in _JSON)
        for texts, rows in _texts(column, pa.array(range(len(column)), pa.int64())):
            for spelling in self._spellings:
                if whole:
                    hits = _compute.equal(texts, spelling)
                else:
                    hits = _compute.match_substring(texts, spelling, ignore_case=True)
                yield from rows.filter(hits, null_selection_behavior="drop").to_pylist()

    # --- a row without it

    def _without(self, row: dict[str, Any]) -> tuple[dict[str, Any], bool]:
        clean = {name: self._column(name, value) if self._is_searched(name) else value for name, value in row.items()}
        return clean, clean != row

    def _column(self, name: str, value: Any) -> Any:
        if isinstance(value, str) and name in _JSON:
            return self.in_json(value)
        if name in _WHOLE and value not in self._spellings:
            return value
        clean = self._value(value)
        if clean is None and value is not None and name in _NEEDED:
            # An id of the same form, the same wherever this one stood.
            return hashlib.blake2b(f"{self._mark}{value}".encode(), digest_size=len(value) // 2 or 1).hexdigest()
        return clean

    def _value(self, value: Any) -> Any:
        if isinstance(value, str):
            return None if value in self._spellings else self.in_text(value)
        if isinstance(value, list):
            items = cast("list[Any]", value)
            return [clean for item in items if not ((clean := self._value(item)) is None and item is not None)]
        if isinstance(value, tuple):  # an entry of a map; one that says nothing any more goes
            key, said = cast("tuple[str, Any]", value)
            clean = self._value(said)
            return None if clean != said and not clean else (self.in_text(key), clean)
        if isinstance(value, dict):
            return {key: self._value(item) for key, item in cast("dict[str, Any]", value).items()}
        return value

    def in_text(self, text: str) -> str:
        """Return a text without it."""
        if self._is_short:
            return self._mark if text in self._spellings else text
        return self._inside.sub(self._mark, text)

    def in_json(self, text: str) -> str:
        """Return JSON text without it; what is no JSON is any text."""
        key = ""

        def replaced(token: re.Match[str]) -> str:
            nonlocal key
            string, colon = token.groups()
            if string is None:
                return json.dumps(self._mark) if token[0] == self._identifier and _names(key) else token[0]
            said = _decoded(string)
            if colon:
                key = said
            clean = said if self._is_short and (colon or not _names(key)) else self.in_text(said)
            return token[0] if clean == said else json.dumps(clean) + (colon or "")

        return _TOKEN.sub(replaced, text) if _is_json(text) else self.in_text(text)

    def in_bytes(self, data: bytes) -> bool:
        """Tell whether it stands in the bytes of a file that holds no spans."""
        texts = {one.encode("utf-8", "replace") for one in self._spellings}
        return any((b'"' + one + b'"' if self._is_short else one) in data for one in texts)


def _texts(array: Any, rows: Any) -> Iterator[tuple[Any, Any]]:
    """Yield the texts in an array, however deep, each with the rows they are of."""
    kind = array.type
    if pa.types.is_map(kind):
        array = array.cast(pa.list_(pa.struct([("key", kind.key_type), ("value", kind.item_type)])))
        kind = array.type
    if pa.types.is_string(kind) or pa.types.is_large_string(kind):
        yield array, rows
    elif pa.types.is_list(kind) or pa.types.is_large_list(kind):
        yield from _texts(array.flatten(), rows.take(pc.list_parent_indices(array)))
    elif pa.types.is_struct(kind):
        for field in array.flatten():
            yield from _texts(field, rows)


def _names(key: str) -> bool:
    return key in _NAMING or is_identifier_key(key)


def _decoded(string: str) -> str:
    try:
        return json.loads(string, strict=False)
    except ValueError:
        return string[1:-1]


def _is_json(text: str) -> bool:
    try:
        json.loads(text, parse_int=len, parse_float=len)
    except (ValueError, RecursionError):
        return False
    return True
