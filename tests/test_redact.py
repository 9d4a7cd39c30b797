"""The copy of a document that is kept: no text, no secret, no endless lists, whatever the document is."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import orjson
from hypothesis import given
from hypothesis import strategies as st
from turnledger.instrument.documents import load_documents
from turnledger.instrument.redact import MAX_DEPTH, MAX_ITEMS, looks_like_identifier, skeleton

if TYPE_CHECKING:
    from collections.abc import Iterator

RULES = load_documents().documents["openai"].surfaces[0].rules
_MARK = re.compile(r"<(?:\d+ (?:chars|bytes|numbers|more)|redacted|nested too deeply)>")
_ASCII = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789"

_KEYS = st.sampled_from(
    ["id", "type", "content", "text", "arguments", "parameters", "api_key", "token", "usage", "x", "items"]
) | st.text(max_size=12)
_STRINGS = st.text(max_size=40) | st.text(_ASCII + "_-.", min_size=1, max_size=300)
_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | _STRINGS,
    lambda inner: st.lists(inner, max_size=5) | st.dictionaries(_KEYS, inner, max_size=5),
    max_leaves=20,
)


def strings(node: Any) -> Iterator[str]:
    """Yield every string in a document, keys too."""
    if isinstance(node, str):
        yield node
    elif isinstance(node, dict):
        for key, value in node.items():
            yield key
            yield from strings(value)
    elif isinstance(node, list):
        for value in node:
            yield from strings(value)


def under(node: Any, names: frozenset[str]) -> Iterator[Any]:
    """Yield every value that stands directly under a key of these names, or in a list under it."""
    if isinstance(node, dict):
        for key, value in node.items():
            if key.lower() in names:
                yield from value if isinstance(value, list) else [value]
            yield from under(value, names)
    elif isinstance(node, list):
        for value in node:
            yield from under(value, names)


@given(_JSON)
def test_only_short_words_stay(document: Any):
    for kept in strings(skeleton(document, RULES)):
        assert len(kept) <= 256
        assert _MARK.fullmatch(kept) or not re.search(r"\s", kept), kept


@given(_JSON)
def test_nothing_stays_under_text_and_opaque_keys(document: Any):
    kept = skeleton(document, RULES)
    for value in under(kept, RULES.text | RULES.opaque):
        assert not isinstance(value, str) or not value or _MARK.fullmatch(value), value
    for value in under(kept, RULES.secret):
        assert not isinstance(value, str) or not value or value == "<redacted>", value


_SECRETS = st.one_of(
    st.text(_ASCII, min_size=20, max_size=60).map("sk-{}".format),
    st.text(_ASCII + "_-", min_size=20, max_size=90).map("sk-ant-api03-{}".format),
    st.text(_ASCII, min_size=16, max_size=60).map("Bearer {}".format),
    st.text(_ASCII, min_size=35, max_size=35).map("AIza{}".format),
    st.text("ABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789", min_size=16, max_size=16).map("AKIA{}".format),
    st.tuples(*[st.text(_ASCII + "_-", min_size=12, max_size=40)] * 3).map(lambda parts: "eyJ" + ".".join(parts)),
)


@given(_SECRETS, _KEYS, st.sampled_from(["{}", "key={}", "[{}]", "a:{}", "x {} y"]), st.integers(0, 3))
def test_no_secret_stays_wherever_it_stands(secret: str, key: str, place: str, depth: int):
    document: Any = {key: place.format(secret), "id": ["resp_1", secret], secret: 1}
    for _ in range(depth):
        document = {"items": [document]}
    assert secret not in orjson.dumps(skeleton(document, RULES)).decode()


@given(
    st.sampled_from(sorted(RULES.secret)),
    _JSON.filter(lambda value: isinstance(value, str | dict | list) and bool(value)),
)
def test_nothing_stays_under_a_secret_key(key: str, value: Any):
    assert skeleton({key: value}, RULES) == {key: "<redacted>"}


def shape(node: Any) -> Any:
    if isinstance(node, dict):
        return {key: shape(value) for key, value in node.items()}
    return [shape(value) for value in node] if isinstance(node, list) else type(node).__name__


_PLAIN_KEYS = st.sampled_from(["id", "content", "arguments", "api_key", "usage", "items"])


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | _STRINGS,
        lambda inner: (
            st.lists(inner, max_size=5)
            | st.lists(st.just(1), min_size=60, max_size=70)
            | st.dictionaries(_PLAIN_KEYS, inner, max_size=5)
        ),
        max_leaves=20,
    )
)
def test_a_second_pass_keeps_the_shape(document: Any):
    once = skeleton(document, RULES)
    assert shape(skeleton(once, RULES)) == shape(once)


@given(_JSON)
def test_every_string_is_an_identifier_or_a_mark(document: Any):
    for kept in strings(skeleton(document, RULES)):
        assert not kept or _MARK.fullmatch(kept) or looks_like_identifier(kept), kept


def test_depth_is_bounded():
    document: Any = "end"
    for _ in range(5_000):
        document = {"items": [document]}
    kept, depth = skeleton(document, RULES), 0
    while isinstance(kept, dict | list):
        kept, depth = (kept["items"] if isinstance(kept, dict) else kept[0]), depth + 1
    assert kept == "<nested too deeply>"
    assert depth <= MAX_DEPTH


def test_lists_are_bounded():
    kept = skeleton({"items": [{"id": f"item_{n}"} for n in range(10_000)]}, RULES)["items"]
    assert len(kept) == MAX_ITEMS + 1
    assert kept[-1] == f"<{10_000 - MAX_ITEMS} more>"
    assert skeleton({"x": [0.25] * 100_000}, RULES) == {"x": "<100000 numbers>"}


def test_ids_and_figures_stay():
    document = {
        "id": "resp_0a1b",
        "status": "completed",
        "usage": {"input_tokens": 3, "cost": 0.25},
        "error": None,
    }
    assert skeleton(document, RULES) == document
