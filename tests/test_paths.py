"""The path language and usage expressions: what they find, and that no JSON makes them raise or turn unknown into 0."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from turnledger.instrument.paths import Expression, as_count, find, first, parse

KEYS = ["a", "b", "usage", "tokens", "kind"]
_LEAVES = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.sampled_from(["", "x", "audio", "12"])
    | st.integers(0, 2000)
)
JSON = st.recursive(
    _LEAVES,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.sampled_from(KEYS), inner, max_size=4),
    max_leaves=15,
)
_STEPS = st.builds(
    "{}{}".format, st.sampled_from([*KEYS, "*"]), st.sampled_from(["", "", "[]", "[][]", "[kind=audio]", "[kind=x][]"])
)
PATHS = st.lists(_STEPS, min_size=1, max_size=4).map(".".join)
_TERMS = st.builds("{}{}".format, PATHS, st.sampled_from(["", "?"]))
EXPRESSIONS = st.lists(st.lists(_TERMS, min_size=1, max_size=3).map(" + ".join), min_size=1, max_size=3).map(" | ".join)


def at(text: str, node: Any) -> list[Any]:
    return list(find(node, parse(text)))


@pytest.mark.parametrize(
    ("path", "node", "expected"),
    [
        ("a", {"a": 1}, [1]),
        ("a.b", {"a": {"b": None}}, [None]),
        ("a[].b", {"a": [{"b": 1}, {"c": 2}, 3, {"b": 4}]}, [1, 4]),
        ("a[][].b", {"a": [[{"b": 1}], [{"b": 2}, {"b": 3}]]}, [1, 2, 3]),
        ("a[]", {"a": [1, [2]]}, [1, [2]]),
        ("*.b", {"a": {"b": 1}, "c": {"b": 2}, "d": 3}, [1, 2]),
        ("a.*[].b", {"a": {"x": [{"b": 1}], "y": [{"b": 2}]}}, [1, 2]),
        ("a[kind=x].n", {"a": [{"kind": "x", "n": 1}, {"kind": "y", "n": 2}, {"kind": "x", "n": 3}, "x"]}, [1, 3]),
        ("a[kind=x].n", {"a": {"kind": "x", "n": 1}}, [1]),
        ("a[kind=x].n", {"a": {"kind": "y", "n": 1}}, []),
        ("a[kind=x]", {"a": [{"kind": True}, {"kind": None}, {}]}, []),
        ("@type", {"@type": "t"}, ["t"]),
        ("a", [{"a": 1}], []),
        ("a[]", {"a": {"b": 1}}, []),
        ("a.b", {"a": [{"b": 1}]}, []),
        ("a", None, []),
        ("$", {"a": 1}, [{"a": 1}]),
        ("$.a", {"a": 1}, [1]),
        ("$[object=error].type", {"object": "error", "type": "bad"}, ["bad"]),
        ("$[object=error].type", {"object": "chunk", "type": "fine"}, []),
        ("$[].id", [{"id": 1}, {"id": 2}], [1, 2]),
    ],
)
def test_what_a_path_finds(path: str, node: Any, expected: list[Any]):
    assert at(path, node) == expected


def test_the_first_value_is_the_first_that_is_not_null():
    assert first({"a": [{"b": None}, {"b": 2}]}, parse("a[].b")) == 2
    assert first({"a": None}, parse("a")) is None


@pytest.mark.parametrize(
    "text", ["", ".", "a.", ".a", "a..b", "a b", "a[", "a]", "a[0]", "a[=x]", "a[k=]", "[]", "a[k=x"]
)
def test_what_is_no_path(text: str):
    with pytest.raises(ValueError, match="is not a path such as"):
        parse(text)


@given(PATHS, JSON)
def test_no_document_makes_a_path_raise(path: str, node: Any):
    found = at(path, node)
    assert first(node, parse(path)) is next((value for value in found if value is not None), None)


@pytest.mark.parametrize(
    ("expression", "usage", "expected"),
    [
        ("a", {"a": 3}, 3),
        ("a", {"a": 0}, 0),
        ("a", {}, None),
        ("a", {"a": None}, None),
        ("a + b", {"a": 1, "b": 2}, 3),
        ("a + b", {"a": 1}, None),
        ("a + b?", {"a": 1}, 1),
        ("a? + b?", {"b": 2}, 2),
        ("a? + b?", {}, None),
        ("a | b", {"b": 2}, 2),
        ("a | b", {"a": 0, "b": 2}, 0),
        ("a + b | c", {"a": 1, "c": 5}, 5),
        ("a.b | c", {"a": {"b": 4}}, 4),
        ("a[kind=x].n", {"a": [{"kind": "x", "n": 1}, {"kind": "y", "n": 10}, {"kind": "x", "n": 2}]}, 3),
        ("a[kind=x].n", {"a": [{"kind": "y", "n": 10}]}, None),
        ("a[].n", {"a": [{"n": None}, {"n": 4}]}, 4),
        ("a", {"a": 2.0}, 2),
        ("a", {"a": "3"}, None),
        ("a", {"a": True}, None),
        ("a", {"a": -1}, None),
        ("a + b", {"a": (1 << 63) - 1, "b": 1}, None),
        ("a - b?", {"a": 3, "b": 1}, 2),
        ("a - b?", {"a": 3}, 3),
        ("a - b", {"a": 3}, None),
        ("a - b", {"a": 1, "b": 3}, None),
        ("a-b", {"a-b": 4}, 4),
    ],
)
def test_what_an_expression_counts(expression: str, usage: dict[str, Any], expected: int | None):
    assert Expression.parse(expression).count(usage) == expected


@pytest.mark.parametrize("text", ["", "a +", "+ a", "a | ", "a ? b", "a -", "- a", "a?b"])
def test_what_is_no_expression(text: str):
    with pytest.raises(ValueError, match="is not a path"):
        Expression.parse(text)


@given(EXPRESSIONS, st.dictionaries(st.sampled_from(KEYS), JSON, max_size=5))
def test_a_count_is_unknown_or_a_64_bit_whole_number(expression: str, usage: dict[str, Any]):
    count = Expression.parse(expression).count(usage)
    assert count is None or (type(count) is int and 0 <= count < 1 << 63)


def _numbers(node: Any) -> list[Any]:
    if isinstance(node, dict | list):
        return [number for value in (node.values() if isinstance(node, dict) else node) for number in _numbers(value)]
    return [node] if as_count(node) is not None else []


@given(EXPRESSIONS, st.dictionaries(st.sampled_from(KEYS), JSON, max_size=5))
def test_what_is_not_there_is_unknown_never_0(expression: str, usage: dict[str, Any]):
    if not _numbers(usage):
        assert Expression.parse(expression).count(usage) is None


@pytest.mark.parametrize("value", [None, True, "1", "", [], {}, -1, float("nan"), float("inf"), -0.5, 1 << 63, 1e300])
def test_what_is_no_count(value: Any):
    assert as_count(value) is None
