"""However a process begins and ends, the calls that had returned in it are in the store, once."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import textwrap
import threading
from concurrent.futures import ThreadPoolExecutor as Pool
from pathlib import Path
from typing import TYPE_CHECKING

import httpx
import pytest
from apps import App, conversations
from said import completion
from stub_server import json_reply
from turnledger.exporters.store import Store

if TYPE_CHECKING:
    from stub_server import StubServer

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="signals and forks are those of POSIX")

CAN_BE_FIRST = subprocess.run(["unshare", "--pid", "--fork", "true"], capture_output=True, check=False).returncode == 0


@pytest.fixture
def provider(stub: StubServer) -> StubServer:
    """A provider that always answers the same."""
    stub.script(json_reply({"id": "c1", "model": "gpt-4o", **completion("Hello!")}))
    return stub


def check(store: Path, said: list[str]) -> None:
    """See that every call that had returned is there, and none twice; a word that ends with ``!`` was no call."""
    there = conversations(Store.at(store))
    assert [name for name, count in there.items() if count > 1] == []
    assert [name for name in said if name not in there and not name.endswith("!")] == []


ENDS = {
    "the end of main": ("call('a')", 0),
    "sys.exit": ("call('a'); sys.exit(3)", 3),
    "an exception": ("call('a'); raise ValueError", 1),
    "sys.exit on a thread": ("thread = threading.Thread(target=lambda: [call('a'), sys.exit(3)]); thread.start()", 0),
    "a handler of atexit that calls": ("atexit.register(call, 'b'); call('a')", 0),
    "threads that the interpreter waits for": (
        "[threading.Thread(target=call, args=(f'a{n}',)).start() for n in range(5)]",
        0,
    ),
    "threads in the middle of calls": ("keep_calling(4); time.sleep(0.2)", 0),
    "os._exit behind a flush": (
        "keep_calling(); call('a'); say('flushing!'); say(f'{turnledger.flush(10)}!'); os._exit(4)",
        4,
    ),
    "SIGINT": ("call('a'); os.kill(os.getpid(), signal.SIGINT); time.sleep(60)", -signal.SIGINT),
    "a coroutine": ("asyncio.run(asyncio.to_thread(call, 'a'))", 0),
}


@pytest.mark.parametrize("way", ENDS)
def test_a_process_that_ends(way: str, provider: StubServer, tmp_path: Path):
    code, status = ENDS[way]
    with App(tmp_path, provider, f"begin()\n{code}") as app:
        said = app.end(status)
    assert said != []
    if "flushing!" in said:
        assert "True!" in said
        said = said[: said.index("flushing!")]  # what other threads call meanwhile may be lost
    check(tmp_path, said)


@pytest.mark.parametrize("durability", ["span", "disk"])
def test_os_exit_where_each_span_is_written_at_once(durability: str, provider: StubServer, tmp_path: Path):
    code = f"begin(durability={durability!r}); keep_calling(); call('a'); call('b'); os._exit(4)"
    with App(tmp_path, provider, code) as app:
        check(tmp_path, app.end(4))


# --- SIGTERM

WAITS = {
    "waits": "begin(); keep_calling(); signal.pause()",
    "is in the middle of a call": "begin(); keep_calling(3); call_on('main')",
    "computes": "begin(); keep_calling()\nwhile True: sum(range(1000))",
    "waits for a lock": "begin(); keep_calling(); lock = threading.Lock(); lock.acquire(); lock.acquire()",
    "records again": "begin(); turnledger.uninstrument(); begin(); keep_calling(); signal.pause()",
}


@pytest.mark.parametrize("way", WAITS)
def test_sigterm_ends_a_process_without_a_loss(way: str, provider: StubServer, tmp_path: Path):
    with App(tmp_path, provider, WAITS[way]) as app:
        app.listen(20)
        check(tmp_path, app.end(-signal.SIGTERM, signal.SIGTERM))


HANDLERS = {
    "of its own": (
        """
        def leave(number, frame):
            say('handled!')
            sys.exit(7)
        signal.signal(signal.SIGTERM, leave); begin(); keep_calling(); signal.pause()
        """,
        7,
    ),
    "of its own, set later": (
        """
        def leave(number, frame):
            say('handled!')
            sys.exit(7)
        begin(); keep_calling(); signal.signal(signal.SIGTERM, leave); signal.pause()
        """,
        7,
    ),
    "of its event loop": (
        """
        async def main():
            stop = asyncio.Event()
            asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)
            begin()
            async with httpx2.AsyncClient() as client:
                while not stop.is_set():
                    with turnledger.conversation(name := f"a{time.monotonic_ns()}"):
                        await client.post(f"{URL}/v1/chat/completions", json=BODY)
                    say(name)
            say('handled!')
        asyncio.run(main())
        """,
        0,
    ),
    "of its event loop, set later": (
        """
        async def main():
            stop = asyncio.Event()
            asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)
            keep_calling()
            await stop.wait()
            say('handled!')
        begin()
        asyncio.run(main())
        """,
        0,
    ),
}


@pytest.mark.parametrize("handler", HANDLERS)
def test_a_handler_of_the_application_stays_its_own(handler: str, provider: StubServer, tmp_path: Path):
    code, status = HANDLERS[handler]
    with App(tmp_path, provider, code) as app:
        app.listen(20)
        said = app.end(status, signal.SIGTERM)
    assert "handled!" in said
    check(tmp_path, said)


def test_a_container_that_is_stopped(provider: StubServer, tmp_path: Path):
    code = (
        "signal.signal(signal.SIGTERM, lambda *_: say('not yet!')); begin(); keep_calling()\nwhile True: signal.pause()"
    )
    with App(tmp_path, provider, code) as app:
        app.listen(20)
        app.process.send_signal(signal.SIGTERM)
        while app.said[-1] != "not yet!":
            app.listen(1)
        before = list(app.said)
        app.listen(200)  # the grace: more than 200 ms of calls
        check(tmp_path, before)
        app.end(-signal.SIGKILL, signal.SIGKILL)
        check(tmp_path, before)


@pytest.mark.skipif(not CAN_BE_FIRST, reason="this user cannot begin a system of processes")
def test_the_first_process_of_a_container(provider: StubServer, tmp_path: Path):
    # To a first process that does not handle it SIGTERM does nothing: it goes on until it is killed.
    code = "begin(); call('a'); os.kill(1, signal.SIGTERM); call('b'); say(turnledger.flush(10), os.getpid())"
    with App(tmp_path, provider, code, ["unshare", "--pid", "--fork", "--kill-child"]) as app:
        assert app.end(0) == ["a", "b", "True", "1"]
    check(tmp_path, ["a", "b"])


# --- freezing


def test_what_is_flushed_is_there_while_the_process_is_frozen(provider: StubServer, tmp_path: Path):
    code = """
        begin()
        for round in range(3):
            for number in range(5):
                call(f"r{round}-{number}")
            say(f"{turnledger.flush(10)}!")
            os.kill(os.getpid(), signal.SIGSTOP)
    """
    with App(tmp_path, provider, code) as app:
        for round_ in range(3):
            app.listen(6)
            assert app.said[-1] == "True!"
            _, status = os.waitpid(app.process.pid, os.WUNTRACED)
            assert os.WIFSTOPPED(status)
            assert conversations(Store.at(tmp_path)) == dict.fromkeys(
                (f"r{one}-{number}" for one in range(round_ + 1) for number in range(5)), 1
            )
            app.process.send_signal(signal.SIGCONT)
        check(tmp_path, app.end(0))


# --- forks by hand

FORKS = {
    "by sys.exit": ("sys.exit(0)", 0),
    "by os._exit behind a flush": ("turnledger.flush(10); os._exit(0)", 0),
    "by SIGTERM": ("os.kill(os.getpid(), signal.SIGTERM); time.sleep(60)", -signal.SIGTERM),
}


@pytest.mark.parametrize("way", FORKS)
def test_children_forked_in_the_middle_of_calls(way: str, provider: StubServer, tmp_path: Path):
    ending, status = FORKS[way]
    code = f"""
        begin(); keep_calling()
        for number in range(5):
            call(f"parent-{{number}}")
            child = os.fork()
            if child == 0:
                call(f"child-{{number}}")
                if os.fork() == 0:
                    call(f"grandchild-{{number}}")
                    {ending}
                assert os.waitstatus_to_exitcode(os.wait()[1]) == {status}
                {ending}
            assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == {status}
    """
    with App(tmp_path, provider, code) as app:
        said = app.end(0)
    assert {name.partition("-")[0] for name in said if name[0] != "t"} == {"parent", "child", "grandchild"}
    check(tmp_path, said)


@pytest.mark.parametrize("method", ["fork", "spawn", "forkserver"])
@pytest.mark.parametrize("ending", ["returns", "is terminated"])
def test_a_process_of_multiprocessing(method: str, ending: str, provider: StubServer, tmp_path: Path):
    code = f"""
        sys.path.insert(0, {str(Path(__file__).parent)!r})
        import working
        begin()
        context = multiprocessing.get_context({method!r})
        queue = context.SimpleQueue()
        child = context.Process(target=working.work, args=(queue, *sys.argv[1:4], {ending == "returns"}))
        call("parent")
        child.start()
        say(queue.get())
        {"child.terminate()" if ending == "is terminated" else ""}
        child.join()
        say(f"{{child.exitcode}}!")
    """
    with App(tmp_path, provider, code) as app:
        said = app.end(0)
    assert said[-1] == f"{-signal.SIGTERM if ending == 'is terminated' else 0}!"
    assert "parent" in said
    assert "child" in said
    check(tmp_path, said)


# --- a server that forks its workers

SITE = """
    import os, sys
    import httpx2, turnledger

    turnledger.instrument(store={store!r}, hosts={{{host!r}: "openai"}})

    def site(environ, start_response):
        with turnledger.conversation(environ["PATH_INFO"][1:]):
            httpx2.post({url!r} + "/v1/chat/completions", json={{"model": "gpt-4o", "messages": []}}, timeout=60)
        start_response("200 OK", [])
        return [str(os.getpid()).encode()]
"""


@pytest.mark.parametrize("preload", [True, False], ids=["instrumented before the fork", "instrumented in the workers"])
def test_a_server_that_forks_and_recycles_its_workers(preload: bool, provider: StubServer, tmp_path: Path):
    store = tmp_path / "store"
    site = textwrap.dedent(SITE).format(store=str(store), host=provider.host, url=provider.url)
    (tmp_path / "site_app.py").write_text(site)
    options = ["--bind", "127.0.0.1:0", "--workers", "3", "--max-requests", "8", *(["--preload"] if preload else [])]
    with subprocess.Popen(
        [sys.executable, "-m", "gunicorn", *options, "site_app:site"], cwd=tmp_path, stderr=subprocess.PIPE, text=True
    ) as server:
        assert server.stderr is not None
        listening = next(line for line in server.stderr if "Listening at" in line)
        reading = threading.Thread(target=server.stderr.read)
        reading.start()  # what it goes on to say must not fill the pipe
        address = re.search(r"http://[\d.:]+", listening)
        assert address is not None
        names = [f"request-{number}" for number in range(40)]
        with httpx.Client(base_url=address[0], transport=httpx.HTTPTransport(retries=5)) as client, Pool(4) as pool:
            workers = set(pool.map(lambda name: client.get(f"/{name}", timeout=60).text, names))
        server.send_signal(signal.SIGTERM)
        assert server.wait(60) == 0
        reading.join()
    assert len(workers) > 3
    assert str(server.pid) not in workers
    assert conversations(Store.at(store)) == dict.fromkeys(names, 1)
    assert list(store.glob("spool/*")) == []
