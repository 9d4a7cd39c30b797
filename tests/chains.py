"""How well calls are tied into conversations where nothing but their messages ties them, measured on recordings.

The file an exchange was recorded in is the truth: its calls that start with an earlier call's messages and answer are
one conversation, and no call belongs with one of another file. ``make stitching`` runs it:

    chains.py hide IN.har.gz... --out FOLDER       copies that hold no identifier which could tie two calls
    chains.py score IN.har.gz... --calls FILE      what a store says of such copies, compared with the recordings
    chains.py truth IN.har.gz...                   what the recordings hold
"""

from __future__ import annotations

import argparse
import gzip
import itertools
import json
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow.parquet as pq
from chain_answers import answers, documents, has_failed
from chain_hiding import write_hidden
from chain_reading import SYSTEMS, Piece, pieces, plain, request_messages

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

Pair = tuple["Call", "Call"]
"""Two calls, the earlier one first."""


@dataclass(eq=False)
class Call:
    """A chat call that went well: where it stands, what was sent and what was answered (None: unread)."""

    source: str
    recording: str
    place: int
    provider: str
    messages: list[Any]
    answers: list[Piece] | None
    said: list[Piece] = field(default_factory=list)
    """The pieces of the messages."""
    parent: Call | None = None

    def __post_init__(self) -> None:
        self.said = pieces(self.messages)

    @property
    def root(self) -> Call:
        """The call its conversation began with."""
        return list(self.line())[-1]

    def line(self) -> Iterator[Call]:
        """Yield the call, the one it continues, and so on to the first."""
        call: Call | None = self
        while call:
            yield call
            call = call.parent


def read_calls(paths: Iterable[Path]) -> list[Call]:
    """Return the chat calls of recordings, each tied to the call it continues.

    What was recorded together may have gone to several providers, and so stand in several files.
    """
    found: list[Call] = []
    for path in paths:
        for index, entry in enumerate(json.loads(gzip.decompress(path.read_bytes()))["log"]["entries"]):
            if call := read_call(f"{path.name}#{index}", entry):
                found.append(call)
    for calls in by_recording(found):
        for place, call in enumerate(calls):
            earlier = [other for other in calls[:place] if continues(other, call)]
            call.parent = max(reversed(earlier), key=lambda other: len(other.said), default=None)
    return found


def read_call(source: str, entry: dict[str, Any]) -> Call | None:
    """Return a chat call; None where the exchange is none or did not go well."""
    messages, heard = request_messages(entry), documents(entry)
    if messages is None or has_failed(heard):
        return None
    recording, _, place = entry["_source"].rpartition("#")
    return Call(source, recording, int(place), entry.get("_provider", "?"), messages, answers(heard))


def by_recording(calls: Iterable[Call]) -> list[list[Call]]:
    """Return the calls of each recording, in the order they were recorded."""
    groups: dict[str, list[Call]] = {}
    for call in calls:
        groups.setdefault(call.recording, []).append(call)
    return [sorted(group, key=lambda call: call.place) for group in groups.values()]


def continues(earlier: Call, later: Call) -> bool:
    """Tell whether a request starts with another's messages and what was answered to them."""
    if earlier.answers is None:
        size = len(earlier.said)
        return later.said[:size] == earlier.said and [piece[0] for piece in later.said[size : size + 1]] == [
            "assistant"
        ]
    for answer in earlier.answers:
        whole = joined(earlier.said, answer)
        if later.said[: len(whole)] == whole and later.said != earlier.said:
            return True
    return False


def joined(said: list[Piece], answer: Piece) -> list[Piece]:
    """Return messages and the answer to them; an answer goes on with what the assistant said last."""
    _, text, calls = answer
    if said and said[-1][0] == "assistant":
        return [*said[:-1], ("assistant", said[-1][1] + text, said[-1][2] + calls)]
    return [*said, answer] if text or calls else said


@dataclass
class Score:
    """What a store says of pairs of calls, beside what the recordings say."""

    true: list[Pair] = field(default_factory=list)
    missed: list[Pair] = field(default_factory=list)
    tied: list[Pair] = field(default_factory=list)
    wrong: list[Pair] = field(default_factory=list)
    unrelated: list[Pair] = field(default_factory=list)
    """Tied, in one recording, but apart: they continue no call in common. Counted as tied, not as wrong."""

    @property
    def precision(self) -> float:
        """Share of the tied pairs that lie in one recording."""
        return 1 - len(self.wrong) / max(len(self.tied), 1)

    @property
    def recall(self) -> float:
        """Share of the true pairs that are tied."""
        return 1 - len(self.missed) / max(len(self.true), 1)

    def of(self, provider: str) -> Score:
        """Return what is said of the pairs whose later call went to a provider."""
        lists = (self.true, self.missed, self.tied, self.wrong, self.unrelated)
        return Score(*([pair for pair in pairs if pair[1].provider == provider] for pairs in lists))


def score(calls: list[Call], conversations: dict[str, str | None]) -> Score:
    """Compare with the recordings what a store says.

    Args:
        calls: The chat calls of the recordings.
        conversations: Of each source of a row, the conversation it is said to belong to.
    """
    found = Score()
    groups: dict[str, list[Call]] = {}
    for call in calls:
        groups.setdefault(conversations.get(call.source) or call.source, []).append(call)
    for group in by_recording(calls):
        pairs = [pair for pair in itertools.combinations(group, 2) if pair[0].root is pair[1].root]
        found.true += pairs
        found.missed += [pair for pair in pairs if not _is_tied(pair, conversations)]
    for group in groups.values():
        for pair in itertools.combinations(group, 2):
            found.tied.append(pair)
            if pair[0].recording != pair[1].recording:
                found.wrong.append(pair)
            elif pair[0].root is not pair[1].root:
                found.unrelated.append(pair)
    return found


def _is_tied(pair: Pair, conversations: dict[str, str | None]) -> bool:
    first, second = (conversations.get(call.source) for call in pair)
    return first is not None and first == second


def read_conversations(path: Path) -> dict[str, str | None]:
    """Return the conversation of each source, from what ``turnledger sql`` wrote."""
    rows = pq.read_table(path, columns=["source", "conversation_id"]).to_pylist()
    return {row["source"]: row["conversation_id"] for row in rows}


def why(pair: Pair, conversations: dict[str, str | None]) -> str:
    """Tell why a pair is tied that should not be, or is not that should be, as far as the messages tell."""
    first, second = pair
    if first.recording != second.recording or first.root is not second.root:
        if continues(first, second):
            return "the later request starts with the earlier one and its answer"
        alike = sum(
            1 for _ in itertools.takewhile(lambda both: both[0] == both[1], zip(first.said, second.said, strict=False))
        )
        return f"the first {alike} of {len(first.said)} and {len(second.said)} pieces are alike"
    links = [(call.parent, call) for end in pair for call in end.line() if call.parent]
    broken = [link for link in links if not _is_tied(link, conversations)]
    return _difference(*broken[0]) if broken else "no link is broken"


def _difference(earlier: Call, later: Call) -> str:
    """Tell where a request is written otherwise than the one it continues, and how."""
    names = f"{earlier.source} -> {later.source}"
    sent, resent = (
        [message for message in call.messages if not isinstance(message, dict) or message.get("role") not in SYSTEMS]
        for call in (earlier, later)
    )
    if earlier.provider != later.provider:
        names += f", {earlier.provider} -> {later.provider}"
    else:
        for place, (one, other) in enumerate(zip(sent, resent, strict=False)):
            if plain(one) != plain(other):
                return f"{names}: message {place} differs: {_short(one)} | {_short(other)}"
    answer = (earlier.answers or ["unread"])[0]
    return f"{names}: answered {_short(answer)} | sent back {_short(resent[len(sent) : len(sent) + 2])}"


def _short(node: Any) -> str:
    """Return a message without its contents."""
    if isinstance(node, dict):
        return "{" + ", ".join(f"{key}: {_short(value)}" for key, value in node.items()) + "}"
    if isinstance(node, list | tuple):
        return "[" + ", ".join(_short(item) for item in node[:4]) + (", ..." if len(node) > 4 else "") + "]"
    text = " ".join(str(node).split())
    return text if len(text) <= 32 else f"{text[:24]}...({len(text)})"


def lines(found: Score, conversations: dict[str, str | None], most: int) -> Iterator[str]:
    """Yield what a person reads of a score: a table of providers, then the pairs that fail."""
    yield f"{'provider':<42}{'true':>7}{'missed':>8}{'recall':>8}{'tied':>7}{'wrong':>7}{'precision':>11}{'apart':>7}"
    providers = sorted({pair[1].provider for pair in (*found.true, *found.tied)})
    for name, said in [*((name, found.of(name)) for name in providers), ("ALL", found)]:
        yield (
            f"{name:<42}{len(said.true):>7}{len(said.missed):>8}{said.recall:>8.4f}{len(said.tied):>7}"
            f"{len(said.wrong):>7}{said.precision:>11.4f}{len(said.unrelated):>7}"
        )
    for title, pairs in (("missed", found.missed), ("wrong", found.wrong), ("apart", found.unrelated)):
        for pair in pairs[:most]:
            yield f"{title}: {' + '.join(f'{call.source} ({call.recording}#{call.place})' for call in pair)}"
            yield f"    {why(pair, conversations)[:600]}"
        if len(pairs) > most:
            yield f"{title}: and {len(pairs) - most} more pairs"


def truth(calls: list[Call]) -> Iterator[str]:
    """Yield what the recordings hold, by provider."""
    yield f"{'provider':<42}{'calls':>7}{'recordings':>12}{'of several':>12}{'continue':>10}"
    groups = by_recording(calls)
    for name in [*sorted({call.provider for call in calls}), "ALL"]:
        own = [[call for call in group if name in {"ALL", call.provider}] for group in groups]
        sizes = [len(group) for group in own if group]
        tied = sum(call.parent is not None for group in own for call in group)
        yield f"{name:<42}{sum(sizes):>7}{len(sizes):>12}{sum(size > 1 for size in sizes):>12}{tied:>10}"


def main() -> None:
    """Run one of the commands that the head of this file lists."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("command", choices=["hide", "score", "truth"])
    parser.add_argument("har", nargs="+", type=Path)
    parser.add_argument("--out", type=Path, default=Path(".stitching/har"))
    parser.add_argument("--calls", type=Path, default=Path(".stitching/calls.parquet"))
    parser.add_argument("--worst", type=int, default=1000, help="at most so many failing pairs of a kind")
    arguments = parser.parse_args()
    if arguments.command == "hide":
        write_hidden(arguments.har, arguments.out)
        return
    calls = read_calls(arguments.har)
    if arguments.command == "truth":
        said = truth(calls)
    else:
        conversations = read_conversations(arguments.calls)
        said = lines(score(calls, conversations), conversations, arguments.worst)
    sys.stdout.writelines(f"{line}\n" for line in said)


if __name__ == "__main__":
    main()
