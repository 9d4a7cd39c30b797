"""Where a history may be cut: always before a message of the user, never between a tool call and its results."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import orjson

from ..messages import MODEL, SYSTEM, TOOL, role_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ..message_rules import MessageRules
    from .history import Message

BYTES_PER_TOKEN: Final = 4
"""Bytes of JSON per token: a rule of thumb, so that a window in tokens is approximate."""


def starts(messages: Sequence[Message], rules: MessageRules) -> list[int]:
    """Return where a request may begin: at a message of the user behind which no result is without its call."""
    found: list[int] = []
    follower = ""
    for index in range(len(messages) - 1, -1, -1):
        role = role_of(messages[index], rules)
        if role in (MODEL, TOOL):
            follower = role
        elif role != SYSTEM and follower != TOOL:
            found.append(index)
    return found[::-1]


def window(
    messages: Sequence[Message], rules: MessageRules, most: int | None, most_tokens: int | None
) -> tuple[list[Message], int]:
    """Return the latest messages within the limits, and how many were left out.

    System messages stay. A last turn that alone is larger than the limits is returned whole: without it there is
    nothing to answer.

    Args:
        messages: the history, what is asked now included.
        rules: which of them are whose.
        most: the largest number of messages, system messages not counted.
        most_tokens: the largest number of tokens, estimated from their size.
    """
    possible = starts(messages, rules)
    fitting = (
        at for at in possible if _fits([m for m in messages[at:] if not _is_system(m, rules)], most, most_tokens)
    )
    cut = next(fitting, possible[-1] if possible else 0)
    kept = [message for message in messages[:cut] if _is_system(message, rules)]
    return [*kept, *messages[cut:]], cut - len(kept)


def estimated_tokens(messages: Sequence[Message]) -> int:
    """Return about how many tokens messages are."""
    return sum(len(orjson.dumps(message)) for message in messages) // BYTES_PER_TOKEN


def _fits(messages: Sequence[Message], most: int | None, most_tokens: int | None) -> bool:
    if most is not None and len(messages) > most:
        return False
    return most_tokens is None or estimated_tokens(messages) <= most_tokens


def _is_system(message: Message, rules: MessageRules) -> bool:
    return role_of(message, rules) == SYSTEM
