"""What of a JSON document may be kept when content capture is off, and its copy without the rest.

The rule: a string is kept only if it looks like an identifier or an enum value. Strings under a key that a document
names as text are replaced by their length whatever they look like; under an opaque key (tool arguments, schemas, token
lists) the whole subtree is replaced by its size; secrets are replaced entirely, wherever they stand.
"""

from __future__ import annotations

import itertools
import json
import re
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Final, cast

import orjson

from .exchange import REDACTED

if TYPE_CHECKING:
    from collections.abc import Iterable

MAX_IDENTIFIER: Final = 256
MAX_DEPTH: Final = 48
MAX_ITEMS: Final = 64
"""Longer lists keep their first items; what is left out is counted in their place."""

MAX_FIELDS: Final = 512
"""Objects with more fields keep their first; no provider's has as many, and what is left out is counted."""

_MAX_KNOWN_NAMES: Final = 4096
_IDENTIFIER: Final = re.compile(r"[A-Za-z0-9_<$][A-Za-z0-9_.:/@+=~#<>$*-]{0,255}")
_GENERIC_SECRETS: Final = (
    r"(?i:bearer|basic)\s+[A-Za-z0-9._~+/=-]{8,}",
    r"\beyJ[A-Za-z0-9_-]{8,}\.[A-Za-z0-9_-]{4,}",  # JSON web tokens
    r"-----BEGIN [A-Z ]+-----",
    r"\b(?:AKIA|ASIA)[A-Z0-9]{16}\b",  # cloud access key ids
    r"\bgh[pousr]_[A-Za-z0-9]{20,}",
    r"\bxox[abprs]-[A-Za-z0-9-]{10,}",
    r"://[^/@\s]+:[^/@\s]+@",  # user info in a URL
)
_SECRET_KEYS: Final = frozenset(
    [
        "client_secret",
        "clientsecret",
        "api_key",
        "apikey",
        "authorization",
        "authorization_token",
        "password",
        "secret",
        "access_token",
        "accesstoken",
        "refresh_token",
        "id_token",
        "credential",
        "credentials",
        "private_key",
        "bearer_token",
        "auth_token",
        "session_token",
        "token",
    ]
)


@dataclass(frozen=True, slots=True)
class ContentRules:
    """Which keys hold text, which hold opaque content, which hold secrets; all compared in lower case."""

    text: frozenset[str]
    opaque: frozenset[str]
    secret: frozenset[str]
    secret_pattern: re.Pattern[str]
    _kept_names: dict[str, str] = field(default_factory=dict[str, str], compare=False, repr=False)

    @classmethod
    def build(
        cls, text: Iterable[str], opaque: Iterable[str], secret: Iterable[str], secret_patterns: Iterable[str]
    ) -> ContentRules:
        """Join a document's keys and patterns with the ones every document has."""
        return cls(
            frozenset(key.lower() for key in text),
            frozenset(key.lower() for key in opaque),
            _SECRET_KEYS | {key.lower() for key in secret},
            re.compile("|".join((*_GENERIC_SECRETS, *secret_patterns))),
        )

    def is_secret(self, key: str, value: str) -> bool:
        """Tell whether the string is a credential, by its key or by its own look."""
        return key.lower() in self.secret or self.secret_pattern.search(value) is not None

    def hides(self, key: str) -> bool:
        """Tell whether nothing of what stands under the key is to be looked at."""
        lowered = key.lower()
        return lowered in self.opaque or lowered in self.secret

    def with_secrets(self, keys: Iterable[str]) -> ContentRules:
        """Return the rules with further keys of secrets."""
        return replace(self, secret=self.secret | {key.lower() for key in keys}, _kept_names={})

    def kept_name(self, name: str) -> str:
        """Return the key if it is one, its length if it is content that someone used as a key."""
        kept = self._kept_names.get(name)
        if kept is None:
            is_key = looks_like_identifier(name) and not self.secret_pattern.search(name)
            kept = name if is_key else _chars(name)
            if is_key and len(self._kept_names) < _MAX_KNOWN_NAMES:
                self._kept_names[name] = kept  # the same keys come with every call
        return kept


def looks_like_identifier(value: str) -> bool:
    """Tell whether a string may be an identifier or an enum value: no whitespace, short, plain characters."""
    return len(value) <= MAX_IDENTIFIER and _IDENTIFIER.fullmatch(value) is not None


def skeleton(node: Any, rules: ContentRules, key: str = "", depth: int = 0) -> Any:
    """Return a copy of a JSON value with its content and secrets replaced.

    Args:
        node: any JSON value.
        rules: the document's content rules.
        key: the key ``node`` stands under.
        depth: how deep ``node`` stands; deeper than ``MAX_DEPTH`` only a mark is kept.

    Returns:
        The copy: text as ``"<123 chars>"``, opaque subtrees as ``"<456 bytes>"``, secrets as ``"<redacted>"``.
    """
    if isinstance(node, str):
        return _string(node, rules, key)
    if not isinstance(node, dict | list) or not node:
        return cast("Any", node)
    replaced = _replaced(cast("Any", node), rules, key.lower(), depth)
    if replaced is not None:
        return replaced
    if isinstance(node, dict):
        return _fields(cast("dict[str, Any]", node), rules, depth)
    return _list(cast("list[Any]", node), rules, key, depth)


def without_secrets(node: Any, rules: ContentRules, key: str = "", depth: int = 0) -> Any:
    """Return a copy of a JSON value with its secrets replaced, its content as it is; what is too deep goes too."""
    if depth > MAX_DEPTH or (key.lower() in rules.secret and node not in (None, "")):
        return REDACTED
    if isinstance(node, str):
        return REDACTED if node and rules.is_secret(key, node) else node
    if isinstance(node, dict):
        fields = cast("dict[str, Any]", node)
        return {name: without_secrets(value, rules, name, depth + 1) for name, value in fields.items()}
    if isinstance(node, list):
        return [without_secrets(value, rules, key, depth + 1) for value in cast("list[Any]", node)]
    return node


def _fields(fields: dict[str, Any], rules: ContentRules, depth: int) -> dict[str, Any]:
    kept = {
        rules.kept_name(name): skeleton(value, rules, name, depth + 1)
        for name, value in itertools.islice(fields.items(), MAX_FIELDS)
    }
    if len(fields) > MAX_FIELDS:
        kept[f"<{len(fields) - MAX_FIELDS} more>"] = None
    return kept


def _replaced(node: Any, rules: ContentRules, lowered: str, depth: int) -> str | None:
    """Return the mark that stands for a whole subtree, None where its parts are kept."""
    if lowered in rules.secret:
        return REDACTED
    if lowered in rules.opaque:
        return _size(node)
    return "<nested too deeply>" if depth >= MAX_DEPTH else None


def _list(items: list[Any], rules: ContentRules, key: str, depth: int) -> Any:
    if len(items) > 16 and all(isinstance(item, int | float) for item in items):  # noqa: PLR2004  vectors, audio bytes
        return f"<{len(items)} numbers>"
    kept = [skeleton(item, rules, key, depth + 1) for item in items[:MAX_ITEMS]]
    if len(items) > MAX_ITEMS:
        kept.append(f"<{len(items) - MAX_ITEMS} more>")
    return kept


def _string(value: str, rules: ContentRules, key: str) -> str:
    if not value:
        return value
    lowered = key.lower()
    if lowered in rules.secret:
        return REDACTED
    if lowered in rules.text or lowered in rules.opaque or not looks_like_identifier(value):
        return _chars(value)  # not searched for secrets: a long text takes long, and nothing of it is kept
    return REDACTED if rules.secret_pattern.search(value) else value


def _chars(value: str) -> str:
    return f"<{len(value)} chars>"


def _size(node: Any) -> str:
    try:
        return f"<{len(orjson.dumps(node))} bytes>"
    except (orjson.JSONEncodeError, RecursionError):
        pass
    try:
        return f"<{len(json.dumps(node, separators=(',', ':')))} bytes>"  # numbers beyond 64 bits
    except (ValueError, RecursionError):
        return "<nested too deeply>"
