"""Worker processes that take jobs, as task queues have them: every job's calls are in one store, once, with its ids."""

from __future__ import annotations

import multiprocessing
import os
import sys
from functools import cache
from typing import TYPE_CHECKING, Any

import openai
import pytest
import turnledger
from sdk_bodies import CHAT
from stub_server import json_reply

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from conftest import Recorder
    from stub_server import StubServer

JOBS = 60
WORKERS = 3
MESSAGES = [{"role": "user", "content": "Say hello."}]

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="stores are locked as on POSIX")


@cache
def client(url: str, process: int) -> openai.OpenAI:  # a forked child must not use its parent's connections
    """Return the client of a process."""
    return openai.OpenAI(api_key="test-key", base_url=f"{url}/v1", max_retries=0)


def begin(store: str, host: str) -> None:
    """Begin a worker process; where the parent captured already, this changes nothing."""
    turnledger.instrument(store=store, hosts={host: "openai"})


@turnledger.observe(conversation=lambda job: job["chat"], user=lambda job: job["user"], tags={"queue": "answers"})
def work(job: dict[str, Any]) -> int:
    """Do one job: two calls."""
    for _ in range(2):
        client(job["url"], os.getpid()).chat.completions.create(model="gpt-5-mini", messages=MESSAGES, user=job["chat"])
    return os.getpid()


@pytest.mark.parametrize(("method", "in_parent"), [("fork", True), ("fork", False), ("spawn", True)])
@pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")
def test_the_calls_of_all_jobs_are_in_one_store(  # noqa: PLR0913  fixtures
    method: str,
    in_parent: bool,
    stub: StubServer,
    capture: Recorder,
    tmp_path: Path,
    stored: Callable[[Path], list[dict[str, Any]]],
):
    stub.script(json_reply(CHAT))
    setting = (str(tmp_path), stub.host)
    jobs = [{"chat": f"chat-{number}", "user": f"u{number % 7}", "url": stub.url} for number in range(JOBS)]
    expected = [(job["chat"], job["user"]) for job in jobs for _ in range(2)]
    if in_parent:
        begin(*setting)
        expected += [("parent", "u0")] * 2
    with turnledger.conversation("of the parent"):
        if in_parent:
            work({"chat": "parent", "user": "u0", "url": stub.url})
        pool = multiprocessing.get_context(method).Pool(WORKERS, begin, setting)
        processes = set(pool.map_async(work, jobs, chunksize=1).get(60))
    pool.close()
    pool.join()  # the workers end here, right behind their last jobs
    client.cache_clear()
    turnledger.uninstrument()
    rows = stored(tmp_path)
    assert sorted((row["conversation_id"], row["user_id"]) for row in rows) == sorted(expected)
    assert len({row["span_id"] for row in rows}) == len(rows)
    assert {dict(row["tags"])["queue"] for row in rows} == {"answers"}
    assert os.getpid() not in processes
