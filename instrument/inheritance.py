"""What documents take from each other: the shapes of surfaces by ``like``, and with them what holds text."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, Final, cast

from .frontmatter import DocumentError, Table
from .redact import ContentRules

_CONTENT: Final = ("text_keys", "opaque_keys", "secret_keys", "secret_patterns")
_CLAIMS: Final = frozenset({"caching", "retention", "sources", "checked", "notes", "sdk_types"})
"""What a document says of its own provider: the shape of an API is inherited across documents, claims are not."""

Fronts = Mapping[str, tuple[str, dict[str, Any]]]
"""File and front matter of every document, by the file's stem."""


def secret_patterns(file: str, front: dict[str, Any]) -> tuple[str, ...]:
    """Return the document's own patterns of secrets.

    Raises:
        DocumentError: if one is no regular expression.
    """
    content = Table(file, "", front).table("content")
    patterns = content.texts("secret_patterns")
    for pattern in patterns:
        try:
            re.compile(pattern)
        except re.error as error:
            raise content.fail("secret_patterns", f"regular expressions ({error})") from error
    return patterns


def content_rules(stem: str, fronts: Fronts, secrets: list[str]) -> ContentRules:
    """Join the document's content keys with those of every document its surfaces are like, however far.

    Raises:
        DocumentError: if a content table cannot be read.
    """
    merged: dict[str, list[str]] = {name: [] for name in _CONTENT}
    for related in _related(stem, fronts):
        file, front = fronts[related]
        table = Table(file, "", front).table("content")
        for name in _CONTENT:
            merged[name].extend(table.texts(name))
        table.finish()
    # Keys of one provider show up in another's headers and bodies: their look is a secret everywhere.
    return ContentRules.build(merged["text_keys"], merged["opaque_keys"], merged["secret_keys"], secrets)


def _related(stem: str, fronts: Fronts) -> list[str]:
    """Return the document and all it inherits from: what holds text there holds text here."""
    found, left = {stem}, [stem]
    while left:
        file, front = fronts[left.pop()]
        for surface in Table(file, "", front).tables("surface"):
            base = str(surface.values.get("like", "")).partition("/")[0]
            if base in fronts and base not in found:
                found.add(base)
                left.append(base)
    return sorted(found)


def inherited(file: str, surface: Mapping[str, Any], fronts: Fronts, seen: tuple[str, ...]) -> dict[str, Any]:
    """Return a surface with what it inherits by ``like = "document/surface"``: its own keys win, tables are joined."""
    like = surface.get("like")
    if like is None:
        return dict(surface)
    stem, _, name = str(like).partition("/")
    candidates = Table(fronts[stem][0], "", fronts[stem][1]).tables("surface") if stem in fronts else []
    base = next((item.values for item in candidates if item.values.get("name") == name), None)
    if base is None or like in seen:
        raise DocumentError(file, "surface.like", f"'document/surface' of an existing surface, not {like!r}")
    merged = inherited(fronts[stem][0], base, fronts, (*seen, str(like)))
    if fronts[stem][0] != file:
        merged = {key: value for key, value in merged.items() if key not in _CLAIMS}
    for key, value in surface.items():
        below = merged.get(key)
        if isinstance(below, dict) and isinstance(value, dict):
            merged[key] = {**cast("dict[str, Any]", below), **cast("dict[str, Any]", value)}
        else:
            merged[key] = value
    return merged


def home(stem: str, surface: Mapping[str, Any], fronts: Fronts) -> str:
    """Return the document that a surface has its shape from: the last in its chain of ``like``, or its own."""
    while like := surface.get("like"):
        stem, _, name = str(like).partition("/")
        surface = next(
            item.values for item in Table(*_front(stem, fronts)).tables("surface") if item.values.get("name") == name
        )
    return stem


def _front(stem: str, fronts: Fronts) -> tuple[str, str, dict[str, Any]]:
    return fronts[stem][0], "", fronts[stem][1]
