"""What costs are grouped and calls are chosen by: names of keys, and the SQL that sums ``call_costs`` by them.

It asks no other model, and that one is a table: sums over a million calls take a fraction of a second.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

COST_KEYS: Final[Mapping[str, str]] = {
    "conversation": "conversation_id",
    "turn": "turn_index",
    "call": "call_id",
    "provider": "provider",
    "upstream": "upstream_provider",
    "model": "coalesce(response_model, request_model)",
    "surface": "surface",
    "operation": "operation",
    "strategy": "strategy",
    "user": "user_id",
    "day": "started_at::date",
    "month": "strftime(started_at::date, '%Y-%m')",
    "observation": "observation",
    "source": "cost_source",
}
"""What costs can be grouped by, beside ``tag:<name>``; ``source`` is where the cost is from."""

_TAG: Final = "tag:"
_COUNT: Final = "bigint"
_USD: Final = "decimal(38, 18)"

MEASURES: Final[Mapping[str, tuple[str, str]]] = {
    "calls": ("count(*)", _COUNT),
    "input_tokens": ("sum(input_tokens)", _COUNT),
    "output_tokens": ("sum(output_tokens)", _COUNT),
    "cache_read_tokens": ("sum(cache_read_tokens)", _COUNT),
    "cache_write_tokens": ("sum(cache_write_tokens)", _COUNT),
    "reasoning_tokens": ("sum(reasoning_tokens)", _COUNT),
    "cost_usd": ("sum(cost_usd)", _USD),
    "billed_cost_usd": ("sum(cost_usd) filter (where cost_source = 'billed')", _USD),
    "computed_cost_usd": ("sum(cost_usd) filter (where cost_source <> 'billed')", _USD),
    "estimated_cost_usd": ("sum(cost_usd) filter (where cost_source = 'estimated')", _USD),
    "priced_part_usd": ("sum(priced_part_usd) filter (where unpriced_reason is not null)", _USD),
    "unpriced_calls": ("count(unpriced_reason)", _COUNT),
}
"""What is summed: the SQL of each sum and its type. Sums of these are sums again."""


def cost_keys(by: str | Sequence[str]) -> list[str]:
    """Return the keys to group by, each once; ``turn`` comes with its conversation, which it is a part of.

    Raises:
        ValueError: if one of them is none, or there is none.
    """
    keys: list[str] = []
    for key in [by] if isinstance(by, str) else by:
        key_sql(key)
        keys += ["conversation", key] if key == "turn" else [key]
    if not keys:
        raise ValueError(f"name what to group costs by: {_known()}")
    return list(dict.fromkeys(keys))


def split_keys(text: str) -> list[str]:
    """Return the keys of a text that has commas between them."""
    return [key.strip() for key in text.split(",") if key.strip()]


def key_sql(key: str) -> str:
    """Return the SQL of a key over ``call_costs``.

    Raises:
        ValueError: if there is no such key.
    """
    if key.startswith(_TAG) and len(key) > len(_TAG):
        return "tags['" + key.removeprefix(_TAG).replace("'", "''") + "']"
    if key == "message":
        raise ValueError("messages share the cost of a call: turnledger messages, or Ledger.messages(), has theirs")
    if key not in COST_KEYS:
        raise ValueError(f"cannot group costs by {key!r}; known: {_known()}")
    return COST_KEYS[key]


def key_columns(keys: Sequence[str], taken: Sequence[str] = ("other_groups",)) -> list[str]:
    """Return what the keys' columns are called: a tag by its name alone where nothing else has that name."""
    others = {*COST_KEYS, *MEASURES, *taken}
    names = [key.removeprefix(_TAG) for key in keys]
    return [key if name != key and name in others else name for key, name in zip(keys, names, strict=True)]


def keys_selected(keys: Sequence[str]) -> str:
    """Return the keys as columns ``key_0``, ``key_1`` ... of a SELECT: a tag's name is data, and no identifier."""
    return ", ".join(f"{key_sql(key)} as key_{index}" for index, key in enumerate(keys))


def sums_selected() -> str:
    """Return the sums as columns of a SELECT, counts of tokens as wide as they come."""
    return ", ".join(f"{said} as {name}" for name, (said, _) in MEASURES.items())


def cost_query(keys: Sequence[str], top: int | None) -> str:
    """Return the SQL of the costs by these keys, the highest first; its parameters are ``$since`` and ``$until``.

    Args:
        keys: as ``cost_keys`` returns them; their columns are ``key_0``, ``key_1`` ...
        top: how many groups have a row of their own. All others share the last one, whose keys are NULL and whose
            ``other_groups`` says how many they are.

    Raises:
        ValueError: if ``top`` is less than one.
    """
    names = ", ".join(f"key_{index}" for index in range(len(keys)))
    order = f"cost_usd desc nulls last, {names}"
    grouped = f"""
        select {keys_selected(keys)}, {sums_selected()}
        from call_costs
        where ($since::timestamptz is null or started_at >= $since)
            and ($until::timestamptz is null or started_at < $until)
        group by {", ".join(str(index + 1) for index in range(len(keys)))}
    """
    if top is None:
        sums = ", ".join(f"try_cast({name} as {kind}) as {name}" for name, (_, kind) in MEASURES.items())
        return f"with grouped as ({grouped}) select {names}, {sums} from grouped order by {order}"
    if top < 1:
        raise ValueError(f"cannot show the top {top} groups of costs: one is the least")
    shown = ", ".join(
        f"any_value(key_{index}) filter (where place <= {top}) as key_{index}" for index in range(len(keys))
    )
    sums = ", ".join(f"try_cast(sum({name}) as {kind}) as {name}" for name, (_, kind) in MEASURES.items())
    return f"""
        with grouped as ({grouped}),
        placed as (select *, row_number() over (order by {order}) as place from grouped)
        select {shown}, {sums}, if(min(place) > {top}, count(*), null) as other_groups
        from placed group by least(place, {top + 1}) order by min(place)
    """


def _known() -> str:
    return f"{', '.join(COST_KEYS)}, tag:<name>"
