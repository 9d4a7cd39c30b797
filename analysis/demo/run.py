"""Running the demo: the stubs are started, capture is switched on, the app runs, and its books are printed."""

from __future__ import annotations

import contextlib
import importlib
import os
import secrets
import time
from importlib import metadata
from typing import TYPE_CHECKING, Final

from ...exporters.snapshot import list_files
from ...instrument.runtime import active_runtime, flush, instrument, uninstrument
from ..ledger import open_ledger
from . import DemoUnavailable, app
from .report import Run, print_books
from .stub import Stub, load_document, load_recordings

if TYPE_CHECKING:
    from collections.abc import Generator

    from anthropic import Anthropic
    from openai import OpenAI
    from rich.console import Console

    from ...exporters.storage import Found
    from ...exporters.store import Store

_SDKS: Final = ("openai", "anthropic")
_VARIABLES: Final = ("OPENAI_", "ANTHROPIC_")
_KEY: Final = "no-key-needed"
_TIMEOUT_S: Final = 10.0


def run_demo(store: Store, console: Console) -> None:
    """Run the app against the stubs with capture on, and print the books of this run."""
    _check_sdks()
    if active_runtime() is not None:
        raise DemoUnavailable(
            "the demo needs a process of its own: capture is already on in this one and stays as it is; "
            "run `turnledger demo` in a terminal, or call turnledger.uninstrument() first"
        )
    name, before, started = secrets.token_hex(3), set(_names(store)), time.monotonic()
    _record(store, name)
    run = Run(name, time.monotonic() - started, [file for file in _files(store) if file.name not in before])
    if not run.files:
        raise DemoUnavailable(
            f"the demo's calls were not written to {store.location}: see that this folder can be written to and that "
            "OTEL_SDK_DISABLED is not set, or name another with --store"
        )
    with open_ledger(store.address) as ledger:
        print_books(ledger, run, console)


def _files(store: Store) -> list[Found]:
    return list_files(store.storage).files


def _names(store: Store) -> list[str]:
    return [file.name for file in _files(store)]


def _check_sdks() -> None:
    missing: list[str] = []
    for sdk in _SDKS:
        try:
            with _own_environment():
                importlib.import_module(sdk)
        except ImportError:
            missing.append(sdk)
    if missing:
        wanted = " ".join(f'"{sdk}"' for sdk in _SDKS)
        raise DemoUnavailable(
            f"the demo runs the real SDKs of two providers, and {' and '.join(missing)} cannot be imported: "
            f"pip install {wanted}"
        )


@contextlib.contextmanager
def _own_environment() -> Generator[None]:
    """Hide the user's environment from the SDKs: their addresses, keys and headers, and any proxy."""
    hidden = {
        name: value
        for name, value in os.environ.items()
        if name.startswith(_VARIABLES) or name.lower().endswith("_proxy")
    }
    for name in hidden:
        del os.environ[name]
    # An SDK may look for proxies, those of the system too, whatever its HTTP client was told of the environment.
    os.environ["NO_PROXY"] = "*"
    try:
        yield
    finally:
        del os.environ["NO_PROXY"]
        os.environ.update(hidden)


def _record(store: Store, name: str) -> None:
    recordings = load_recordings()
    with contextlib.ExitStack() as stack:
        stubs = {
            provider: stack.enter_context(Stub(item for item in recordings if item.provider == provider))
            for provider in _SDKS
        }
        instrument(store=store.address, hosts={stub.host: provider for provider, stub in stubs.items()})
        stack.callback(uninstrument)
        stack.enter_context(_own_environment())
        openai_client = stack.enter_context(_openai(stubs["openai"].url))
        anthropic_client = stack.enter_context(_anthropic(stubs["anthropic"].url))
        try:
            _converse(openai_client, anthropic_client, name)
        except Exception as error:
            raise DemoUnavailable(_failure(error)) from error
        flush()


def _failure(error: Exception) -> str:
    found = ", ".join(f"{sdk} {metadata.version(sdk)}" for sdk in _SDKS)
    return (
        f"the demo's app failed ({type(error).__name__}: {error}) with {found}: pip install --upgrade {' '.join(_SDKS)}"
    )


def _openai(url: str) -> OpenAI:
    import openai  # noqa: PLC0415  not a dependency

    http = openai.DefaultHttpxClient(trust_env=False, timeout=_TIMEOUT_S)
    return openai.OpenAI(api_key=_KEY, base_url=f"{url}/v1", http_client=http, max_retries=2)


def _anthropic(url: str) -> Anthropic:
    import anthropic  # noqa: PLC0415  not a dependency

    http = anthropic.DefaultHttpxClient(trust_env=False, timeout=_TIMEOUT_S)
    return anthropic.Anthropic(api_key=_KEY, base_url=url, http_client=http, max_retries=2)


def _converse(openai_client: OpenAI, anthropic_client: Anthropic, name: str) -> None:
    """Have the app's conversations, their ids ending with this run's name."""
    app.support_chat(openai_client, f"support-{name}", "ana", ["Hi there!", "What can you help me with?"])
    app.quick_answer(openai_client, f"joke-{name}", "ana", "Tell me a short joke")
    app.tool_chat(
        openai_client, f"dragons-{name}", "ben", "Can the country of Crumpet have dragons? Answer with only YES or NO"
    )
    app.research(
        openai_client,
        f"research-{name}",
        "ben",
        ["Say hi in one word, no punctuation.", "What's the weather in New York?"],
    )
    app.follow_up(
        openai_client, f"names-{name}", "cem", "gpt-4o", ["Hello! My name is Szymon.", "Remind me, what is my name?"]
    )
    app.follow_up(openai_client, f"sums-{name}", "cem", "gpt-4.1", ["What is 2+2?", "And 3+3?"])
    app.puzzle(openai_client, f"puzzle-{name}", "cem", "Count r's in strawberry")
    app.document_questions(anthropic_client, f"articles-{name}", "dora", load_document("articles"), 2)
    app.release_review(anthropic_client, f"release-{name}", "dora", ["Reply with exactly: OK"] * 2)
    app.weather_desk(
        anthropic_client,
        f"weather-{name}",
        "eve",
        ["What's the weather in Berlin? (52.5200, 13.4050)", "What's the weather in Paris? (48.8575, 2.3514)"],
    )
    app.streamed_chat(
        anthropic_client,
        f"version-{name}",
        "eve",
        "Use the fixed_version tool. Then tell me the version and make one short joke about it.",
    )
