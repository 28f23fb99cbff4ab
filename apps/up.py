"""`wald up`: the page and the supervisor of one store, on this machine only.

The page is Streamlit in a process of its own. It is bound to 127.0.0.1 and answers to the names of
this machine alone, by flags, which no configuration file of a user overrides. Where it dies, it is
started anew on the same port, and open tabs find it again. A `wald up` that was killed leaves its
page behind; the next one ends that page and starts its own.
"""

import contextlib
import importlib.util
import os
import signal
import socket
import subprocess
import sys
import threading
import time
import urllib.request
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from types import FrameType
from typing import Any

from apps.store import Store, TakenOver
from apps.supervisor import TICK_SECONDS, Supervisor, python
from bo.database import is_missing, store_url
from surrogates.errors import StoreError, UsageError

ADDRESS = "127.0.0.1"
HOSTS = ("127.0.0.1", "localhost")
START_SECONDS = 60.0
RESTARTS = 5
"""How often within a minute the page is started anew before `wald up` gives up."""


def up(store: str, *, port: int, workers: int, show: Callable[[Mapping[str, Any]], None]) -> int:
    """Serve until Ctrl-C; or say where it is served already.

    Args:
        store: URL or path; made where it is missing.
        port: of the page.
        workers: runs at once; 0 for as many as there are CPU cores.
        show: prints what there is to say, once the page answers.

    Raises:
        UsageError: a port that is in use (a free one is named), or out of range.
    """
    if not 1 <= port <= 65_535 or not 0 <= workers <= 256:
        raise UsageError(
            f"expected --port 1 to 65535 and --workers 0 to 256, got {port} and {workers}"
        )
    workers = workers or os.cpu_count() or 1
    if is_missing(_absolute(store)):
        _check_free(port)  # before anything is made
    opened = Store.open(_absolute(store), create=True)
    before = opened.supervisor()
    url = f"http://{ADDRESS}:{port}"
    living = opened.become_supervisor(url, workers=workers)
    if living is not None:
        show(
            {"url": living["url"], "store": opened.url, "workers": living["workers"], "new": False}
        )
        return 0
    supervisor = Supervisor(opened, workers=workers)
    server = Server(opened.url, port)
    try:
        if before is not None:
            _end_orphan(before["server_pid"])
        _check_free(port)
        with _signals() as over:
            server.start()
            opened.beat_supervisor(server_pid=server.process.pid)
            supervisor.publish()
            server.wait_until_it_answers(over)
            if not over.is_set():
                show({"url": url, "store": opened.url, "workers": workers, "new": True})
            while not over.wait(TICK_SECONDS):
                supervisor.tick()
                if server.keep_up():
                    opened.beat_supervisor(server_pid=server.process.pid)
        return 0
    except KeyboardInterrupt:
        return 0
    except TakenOver as error:
        sys.stderr.write(f"wald: {error}\n")
        return 1
    finally:
        server.close()
        with contextlib.suppress(StoreError):  # it may be what ended this
            supervisor.close()
            _tell_who_goes_on(opened)


MEMORY = {
    "MALLOC_ARENA_MAX": "2",
    "MALLOC_TRIM_THRESHOLD_": "131072",
    "MALLOC_MMAP_THRESHOLD_": "131072",
}
"""For the allocator of the C library: each refresh of a page runs in a new thread, and memory that
it freed in one would come back neither to the others nor to the system."""


class Server:
    """The page's process.

    Args:
        store: URL of the store that it shows.
        port: on which it listens.
    """

    def __init__(self, store: str, port: int) -> None:
        self.store = store
        self.port = port
        self.starts: list[float] = []
        self.process: subprocess.Popen[bytes]

    def start(self) -> None:
        """Start the page; it takes a second or two until it answers."""
        found = importlib.util.find_spec("dashboards")
        assert found is not None
        assert found.submodule_search_locations is not None
        page = Path(found.submodule_search_locations[0]) / "app.py"
        flags = {
            "server.address": ADDRESS,
            "server.port": self.port,
            "server.headless": "true",
            "server.enableCORS": "true",
            "server.enableXsrfProtection": "true",
            "server.enableAgentApi": "false",
            "server.fileWatcherType": "none",
            "client.showErrorDetails": "type",
            "client.toolbarMode": "viewer",
            "browser.gatherUsageStats": "false",
        }
        words = [word for name, value in flags.items() for word in (f"--{name}", str(value))]
        words += [word for host in HOSTS for word in ("--server.allowedHosts", host)]
        self.process = python(
            "dashboards.serve",
            str(page),
            *words,
            out=subprocess.DEVNULL,
            err=subprocess.DEVNULL,
            environment={**MEMORY, **os.environ, "WALD_STORE": self.store},
        )
        self.starts.append(time.monotonic())

    def wait_until_it_answers(self, over: threading.Event) -> None:
        """Return as soon as it answers, or all is over.

        Raises:
            UsageError: it ends instead, or takes more than a minute.
        """
        until = time.monotonic() + START_SECONDS
        while time.monotonic() < until and self.process.poll() is None:
            if over.is_set():
                return
            with (
                contextlib.suppress(OSError),
                urllib.request.urlopen(f"http://{ADDRESS}:{self.port}/_stcore/health", timeout=2.0),
            ):
                return
            time.sleep(0.1)
        raise UsageError(
            f"expected the page to answer at port {self.port}, got nothing; "
            "`python -m streamlit version` and `wald doctor` tell whether Streamlit works"
        )

    def keep_up(self) -> bool:
        """Start the page anew where it died; returns whether it did."""
        if self.process.poll() is None:
            return False
        now = time.monotonic()
        self.starts = [start for start in self.starts if now - start < 60.0]
        if len(self.starts) > RESTARTS:
            raise UsageError(
                f"the page ended {RESTARTS} times within a minute; is port {self.port} free, "
                "and does `python -m streamlit version` work?"
            )
        self.start()
        return True

    def close(self) -> None:
        """End the page."""
        if self.starts and self.process.poll() is None:
            self.process.terminate()
            try:
                self.process.wait(timeout=5.0)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()


def _absolute(store: str) -> str:
    """The same store, whatever folder a process works in."""
    url = store_url(store)
    scheme, _, path = url.partition("sqlite:///")
    return url if scheme or not path else f"sqlite:///{Path(path).absolute()}"


def _check_free(port: int) -> None:
    if not _is_free(port):
        free = next((p for p in range(port + 1, min(port + 100, 65_536)) if _is_free(p)), None)
        advice = "" if free is None else f"; free is --port {free}"
        raise UsageError(f"expected a free port, got {port}, which another program uses{advice}")


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((ADDRESS, port))
        except OSError:
            return False
        return True


def _end_orphan(process: int | None) -> None:
    """End the page of a `wald up` that was killed, if that process still is one."""
    if process is None or "dashboards.serve" not in _command(process):
        return
    for number in (signal.SIGTERM, signal.SIGKILL):
        with contextlib.suppress(ProcessLookupError):
            os.kill(process, number)
        for _ in range(50):
            if "dashboards.serve" not in _command(process):
                return
            time.sleep(0.1)


def _command(process: int) -> str:
    """The command line of a process; empty where there is none (or only its remains)."""
    told = subprocess.run(
        ["ps", "-o", "args=", "-p", str(process)], capture_output=True, text=True, check=False
    )
    return told.stdout.strip()


@contextlib.contextmanager
def _signals() -> Iterator[threading.Event]:
    """What Ctrl-C and SIGTERM set; a second one raises `KeyboardInterrupt`.

    The first must not raise: what is raised while Python finalises an object is lost.
    """
    over = threading.Event()

    def end(_number: int, _frame: FrameType | None) -> None:
        if over.is_set():
            raise KeyboardInterrupt
        over.set()

    former = {number: signal.signal(number, end) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield over
    finally:
        for number, handler in former.items():
            signal.signal(number, handler)


def _tell_who_goes_on(store: Store) -> None:
    going = [row.run_id for row in store.runs_in(("running",)) if row.queued is not None]
    if going:
        sys.stderr.write(
            f"the page has ended; {len(going)} of its runs go on ({', '.join(going[:3])}"
            f"{', ...' if len(going) > 3 else ''}): `wald list`, `wald stop RUN`, `wald up`\n"
        )
