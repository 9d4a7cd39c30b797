"""``observe`` and ``conversation``: the calls inside are named, and the function stays what it was."""

from __future__ import annotations

import asyncio
import functools
import importlib
import inspect
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pytest
import turnledger
from sdk_bodies import CHAT
from stub_server import json_reply
from turnledger.instrument import context, health

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable, Generator

    from conftest import Recorder
    from stub_server import StubServer

ASKED = {"model": "gpt-5-mini", "messages": [{"role": "user", "content": "Say hello."}]}


@dataclass
class _Request:
    chat_id: str
    meta: dict[str, Any]


def here() -> tuple[str | None, str | None]:
    """Return the conversation and the user set here."""
    said = context.current()
    return (said.id, said.user) if said else (None, None)


@pytest.fixture
def api(stub: StubServer, recorder: Recorder) -> Recorder:
    """Capture that is on, and a provider that answers."""
    stub.script(json_reply(CHAT))
    recorder.stub = stub  # type: ignore[attr-defined]
    return recorder


def call(api: Any) -> None:
    """Make one provider call."""
    library = importlib.import_module("httpx2")
    with library.Client() as client:
        client.post(f"{api.stub.url}/v1/chat/completions", json=ASKED)


async def acall(api: Any) -> None:
    library = importlib.import_module("httpx2")
    async with library.AsyncClient() as client:
        await client.post(f"{api.stub.url}/v1/chat/completions", json=ASKED)


def who(row: dict[str, Any]) -> tuple[Any, ...]:
    """Return what the application said of a call."""
    return row["conversation_id"], row["conversation_source"], row["user_id"], dict(row["tags"] or {})


# --- what the rows say


def test_rows_say_who(api: Recorder):
    @turnledger.observe(conversation="chat_id", user="user_id", tags={"team": "support", "tier": 2})
    def answer(chat_id: str, user_id: int) -> str:
        call(api)
        return "done"

    assert answer("c1", user_id=7) == "done"
    row = api.row()
    assert who(row) == ("c1", "app", "7", {"team": "support", "tier": "2"})
    assert row["observation"] == f"{__name__}.test_rows_say_who.<locals>.answer"


def test_async_rows_say_who(api: Recorder):
    @turnledger.observe(conversation="chat_id")
    async def answer(chat_id: str) -> str:
        await acall(api)
        return "done"

    assert asyncio.run(answer("c1")) == "done"
    assert who(api.row()) == ("c1", "app", None, {})


def test_a_generators_rows_say_who(api: Recorder):
    @turnledger.observe(conversation="chat_id")
    def answer(chat_id: str) -> Generator[str]:
        call(api)
        yield "one"
        call(api)

    for _ in answer("c1"):
        call(api)  # the consumer's own
    assert [row["conversation_id"] for row in api.rows()] == ["c1", None, "c1"]


def test_conversation_nests_inside_observe_and_around_it(api: Recorder):
    @turnledger.observe(tags={"b": "inner"})
    def answer() -> None:
        call(api)
        with turnledger.conversation("c2", tags={"c": 3}):
            call(api)
        call(api)

    with turnledger.conversation("c1", user="u1", tags={"a": 1, "b": "outer"}):
        answer()
        call(api)
    rows = api.rows()
    assert [who(row) for row in rows] == [
        ("c1", "app", "u1", {"a": "1", "b": "inner"}),
        ("c2", "app", "u1", {"a": "1", "b": "inner", "c": "3"}),
        ("c1", "app", "u1", {"a": "1", "b": "inner"}),
        ("c1", "app", "u1", {"a": "1", "b": "outer"}),
    ]
    assert [row["observation"] is None for row in rows] == [False, False, False, True]


def test_no_conversation_is_not_an_empty_one(api: Recorder):
    with turnledger.conversation(user="u1"):
        call(api)
    assert who(api.row()) == (None, None, "u1", {})


# --- who is said


@pytest.mark.parametrize(
    ("said", "expected"),
    [
        ("chat_id", "c1"),
        ("request.chat_id", "r1"),
        ("request.meta.thread", "t1"),
        ("support-4711", "support-4711"),
        ("v1.2", "v1.2"),  # no argument of this name: a value, dots and all
        (lambda chat_id, request, *_, **__: f"{chat_id}/{request.chat_id}", "c1/r1"),
        ("limit", "10"),  # a default counts
        ("nothing", None),
        (None, None),
    ],
)
def test_conversation_is_named_by_argument_value_or_callable(said: Any, expected: str | None, recorder: Recorder):
    @turnledger.observe(conversation=said, user=said)
    def answer(chat_id: str, request: _Request, limit: int = 10, nothing: str | None = None) -> Any:
        return here()

    assert answer("c1", request=_Request("r1", {"thread": "t1"})) == (expected, expected)
    assert health.snapshot() == {}


class _Unprintable:
    def __str__(self) -> str:
        raise RuntimeError("no text")


@pytest.mark.parametrize("said", [lambda *_: 1 / 0, lambda *_: _Unprintable(), "value.missing", lambda: "too few"])
def test_a_failing_name_is_counted_and_the_function_runs(said: Any, recorder: Recorder):
    @turnledger.observe(conversation=said)
    def answer(value: str) -> Any:
        return here()

    assert answer("x") == (None, None)
    assert health.snapshot() == {"observe.resolve": 1}


def test_observe_switches_capture_on(tmp_path: Any, monkeypatch: pytest.MonkeyPatch, capture: Recorder):
    monkeypatch.setenv("TURNLEDGER_STORE", str(tmp_path))
    runtime = importlib.import_module("turnledger.instrument.runtime")
    monkeypatch.setattr(runtime, "_decided", False)  # as in a process that has just begun

    @turnledger.observe
    def answer() -> bool:
        return runtime.active_runtime() is not None

    assert answer()
    turnledger.uninstrument()
    assert not answer(), "what the application has switched off stays off"


def test_a_failing_setup_is_not_the_functions(capture: Recorder, monkeypatch: pytest.MonkeyPatch):
    runtime = importlib.import_module("turnledger.instrument.runtime")
    monkeypatch.setattr(runtime, "_decided", False)
    monkeypatch.setattr(runtime, "entry_points", lambda **_: ())
    observed = turnledger.observe(lambda: "done")
    assert [observed(), observed()] == ["done", "done"]
    assert health.snapshot() == {"observe.instrument": 1}


# --- the function stays what it was


def plain(a: int, *rest: int, key: str = "k", **more: int) -> tuple[Any, ...]:
    """Say what it was given."""
    return a, rest, key, more


async def coroutine(a: int) -> int:
    return a


def generator(a: int) -> Generator[int]:
    yield a


async def async_generator(a: int) -> AsyncGenerator[int]:
    yield a


@pytest.mark.parametrize("function", [plain, coroutine, generator, async_generator])
def test_the_function_looks_the_same(function: Callable[..., Any]):
    observed = turnledger.observe(conversation="a")(function)
    assert observed.__wrapped__ is function
    assert inspect.signature(observed) == inspect.signature(function)
    for attribute in ("__name__", "__qualname__", "__doc__", "__module__", "__annotations__"):
        assert getattr(observed, attribute) == getattr(function, attribute)
    for kind in ("isfunction", "iscoroutinefunction", "isgeneratorfunction", "isasyncgenfunction"):
        assert getattr(inspect, kind)(observed) == getattr(inspect, kind)(function)


def test_arguments_and_results_pass_as_they_are(recorder: Recorder):
    marker = object()
    observed = turnledger.observe(plain)
    assert observed(1, 2, 3, key="x", z=4) == (1, (2, 3), "x", {"z": 4})
    assert turnledger.observe(lambda value: value)(marker) is marker


@pytest.mark.parametrize("error", [ValueError("mine"), KeyboardInterrupt(), SystemExit(3), StopIteration("odd")])
def test_exceptions_pass_as_they_are(error: BaseException, recorder: Recorder):
    def failing() -> None:
        raise error

    async def afailing() -> None:
        raise error

    with pytest.raises(type(error)) as caught:
        turnledger.observe(failing)()
    assert caught.value is error
    assert [entry.name for entry in caught.traceback][-1] == "failing"
    if not isinstance(error, StopIteration):  # a coroutine may not raise it
        coroutine = turnledger.observe(afailing)()
        with pytest.raises(type(error)) as caught:
            coroutine.send(None)
        assert caught.value is error
    assert here() == (None, None)


class _Assistant:
    name = "class"

    def __init__(self, name: str) -> None:
        self.name = name

    @turnledger.observe(conversation="self.name")
    def method(self) -> Any:
        return here()

    @turnledger.observe(conversation="cls.name")
    @classmethod
    def outer_class(cls) -> Any:
        return cls, here()

    @classmethod
    @turnledger.observe(conversation="cls.name")
    def inner_class(cls) -> Any:
        return cls, here()

    @turnledger.observe(conversation="value")
    @staticmethod
    def outer_static(value: str) -> Any:
        return value, here()

    @staticmethod
    @turnledger.observe(conversation="value")
    def inner_static(value: str) -> Any:
        return value, here()

    @property
    @turnledger.observe(conversation="self.name")
    def computed(self) -> Any:
        return here()


def test_methods_of_every_kind(recorder: Recorder):
    one = _Assistant("one")
    assert one.method() == one.computed == _Assistant.method(one) == ("one", None)
    for found in (one.outer_class(), _Assistant.inner_class()):
        assert found == (_Assistant, ("class", None))
    for owner in (one, _Assistant):
        assert owner.outer_static("s") == owner.inner_static("s") == ("s", ("s", None))


def test_callables_that_are_no_functions(recorder: Recorder):
    assert turnledger.observe(functools.partial(plain, 1))(2) == (1, (2,), "k", {})
    assert turnledger.observe(conversation="x")(dict)(a=1) == {"a": 1}
    assert turnledger.observe(len)([1, 2]) == 2
