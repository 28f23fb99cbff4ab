"""A real Chromium looking at a real `wald up`: what the browser tests, the benchmark of the pages
and the screenshots share.

Chromium is the one that is installed (Debian: `apt install chromium`), or the one that the
environment variable WALD_CHROMIUM names. Nothing is downloaded.
"""

import contextlib
import http.client
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, TypeVar

from apps.store import Store
from surrogates.errors import NotInstalledError

HINT = "needs Chromium: apt install chromium, or name one in WALD_CHROMIUM"
PATIENCE_SECONDS = 120.0
_NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
_Found = TypeVar("_Found")


def chromium() -> str | None:
    """The path of a Chromium, or None."""
    named = os.environ.get("WALD_CHROMIUM")
    return named or next((path for name in _NAMES if (path := shutil.which(name))), None)


@contextlib.contextmanager
def browser() -> Iterator[Any]:
    """A headless browser of Playwright. Raises `NotInstalledError` without Chromium."""
    from playwright.sync_api import sync_playwright

    path = chromium()
    if path is None:
        raise NotInstalledError(f"the pages are measured in a real browser, which {HINT}")
    with sync_playwright() as playwright:
        started = playwright.chromium.launch(
            executable_path=path, args=["--no-sandbox", "--disable-dev-shm-usage"]
        )
        try:
            yield started
        finally:
            started.close()


class Up:
    """`wald up` in a process of its own, on a free port.

    Args:
        folder: where it works; the store is `wald.db` there.
        arguments: more words of the command line.
    """

    def __init__(self, folder: Path, *arguments: str) -> None:
        self.folder = folder
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self.arguments = arguments
        self.start()

    def start(self) -> None:
        """Start it, again too, and wait until it answers."""
        words = [sys.executable, "-c", "from apps.cli import main; main()"]
        words += ["up", "--port", str(self.port), "--json", *self.arguments]
        began = time.monotonic()
        self.process = subprocess.Popen(
            words, cwd=self.folder, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        self.seconds_to_healthy = time.monotonic() - began
        if not line:
            told = self.process.communicate()[1]
            raise RuntimeError(f"wald up ended: {told}")
        self.told: dict[str, Any] = json.loads(line)

    def kill(self) -> None:
        """Kill it, and nothing that it started."""
        self.process.kill()
        self.process.wait()
        for pipe in (self.process.stdout, self.process.stderr):
            if pipe is not None:
                pipe.close()

    def server(self) -> int:
        """The process that serves the pages."""
        with opened(self.folder) as store:
            supervisor = store.supervisor()
        assert supervisor is not None
        return int(supervisor["server_pid"])

    def close(self) -> str:
        """Ctrl-C; returns what it said on standard error."""
        if self.process.stdout is None or self.process.stdout.closed:
            return ""
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGINT)
        try:
            return self.process.communicate(timeout=60)[1]
        except subprocess.TimeoutExpired:  # what was measured before is not to be lost with it
            self.process.kill()
            self.process.communicate()
            raise

    def __enter__(self) -> "Up":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


@contextlib.contextmanager
def opened(folder: Path) -> Iterator[Store]:
    """The store of a folder, for a moment."""
    store = Store.open(str(folder / "wald.db"), create=False)
    try:
        yield store
    finally:
        store.engine.dispose()


def free_port() -> int:
    """A port of this machine that nobody uses now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def answers(port: int) -> bool:
    """Whether a server of pages is healthy."""
    try:
        return ask(port, "GET", "/_stcore/health") == 200
    except OSError:
        return False


def ask(port: int, method: str, path: str, **headers: str) -> int:
    """The status of an HTTP request to a server on this machine."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
    try:
        connection.request(method, path, headers=headers)
        return connection.getresponse().status
    finally:
        connection.close()


def handshake(port: int, host: str, origin: str) -> int:
    """The status that opening the page's WebSocket gets: 101 where it is let in."""
    headers = {"Host": host, "Origin": f"http://{origin}", "Connection": "Upgrade"}
    headers |= {"Upgrade": "websocket", "Sec-WebSocket-Version": "13"}
    headers |= {"Sec-WebSocket-Key": "x3JJHMbDL1EzLkh9GBhXDw=="}
    return ask(port, "GET", "/_stcore/stream", **headers)


def wait_for(
    condition: Callable[[], _Found], what: str, *, seconds: float = PATIENCE_SECONDS
) -> _Found:
    """What `condition` returns, once it is true. Raises `TimeoutError`."""
    end = time.monotonic() + seconds
    while True:
        found = condition()
        if found:
            return found
        if time.monotonic() > end:
            raise TimeoutError(f"waited {seconds:g} s in vain for {what}")
        time.sleep(0.05)


def heading(page: Any, text: str) -> None:
    """Wait, frame by frame, until a heading that holds the text is on the page."""
    page.wait_for_function(
        """text => [...document.querySelectorAll('h1, h2, h3')].some(
            heading => heading.checkVisibility() && heading.innerText.includes(text))""",
        arg=text,
        polling="raf",
        timeout=1e3 * PATIENCE_SECONDS,
    )


def press(page: Any, button: Any) -> float:
    """Press a button that the pointer rests on, as a person does; the moment of it.

    While a page still loads, its pictures push the button away: it has to stand still for half a
    second first. A click by Playwright would wait for that too, but within the time that counts.
    """
    button.hover()
    before, now = None, button.bounding_box()
    while now != before:
        time.sleep(0.5)
        button.hover()
        before, now = now, button.bounding_box()
    began = time.monotonic()
    page.mouse.down()
    page.mouse.up()
    return began


def metric(page: Any, label: str) -> str | None:
    """The text of a number in the head of a page, by its label; None while it is not there."""
    return page.evaluate(
        """label => {
            for (const box of document.querySelectorAll('[data-testid="stMetric"]')) {
                const name = box.querySelector('[data-testid="stMetricLabel"]');
                if (name && name.innerText.trim() === label)
                    return box.querySelector('[data-testid="stMetricValue"]').innerText.trim();
            }
            return null;
        }""",
        label,
    )


def state(page: Any) -> str:
    """The state of the run on a Run page, from its badge; empty while it is not there."""
    return page.evaluate(
        """() => { const badge = document.querySelector('.stMarkdownBadge');
                   return badge ? badge.innerText.trim().split(/\\s+/).pop() : ''; }"""
    )


def charts(page: Any) -> int:
    """How many charts are drawn."""
    return page.evaluate(
        """() => [...document.querySelectorAll('[data-testid="stVegaLiteChart"]')].filter(
            chart => chart.querySelector('canvas, svg.marks, svg')).length"""
    )


def resident_bytes(process: int) -> int:
    """Resident memory of a process, in bytes."""
    told = subprocess.run(
        ["ps", "-o", "rss=", "-p", str(process)], capture_output=True, text=True, check=True
    )
    return int(told.stdout) * 1024
