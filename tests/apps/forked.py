"""`wald` processes without the wait for imports: forked from one that has run a few commands.

Most of a short command are its imports. A process of its own it stays: it has its own
folder, environment, streams, signals and exit status. Commands of another environment, and those
that documentation shows, are started the long way.

Run as a script, this file is the process that forks; it reads one request per connection.
"""

import atexit
import contextlib
import gc
import importlib
import json
import os
import selectors
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
import traceback
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import IO

_WARM_UP = (
    "run bo --problem branin --method gp-map --budget 6 --seed 0",
    "run bandit --problem digits --method ts-linear --budget 200 --seed 0",
    "run rl --problem cartpole --method dqn --budget 200 --seed 0",
    "list",
)
_MOST = 1_000_000  # bytes of a request


class Forked:
    """A process of the server's, with the part of `subprocess.Popen` that tests use."""

    def __init__(self, control: socket.socket, out: IO[bytes], err: IO[bytes]) -> None:
        self.control = control
        self.streams = {"out": out, "err": err}
        self.pid = int(control.recv(32))
        self.returncode: int | None = None

    def poll(self) -> int | None:
        """The exit status, negative of a signal; None while it runs."""
        with contextlib.suppress(TimeoutError, BlockingIOError):
            self._wait(0.0)
        return self.returncode

    def wait(self, timeout: float | None = None) -> int:
        """Wait for the end. Raises `subprocess.TimeoutExpired`."""
        try:
            return self._wait(timeout)
        except TimeoutError:
            raise subprocess.TimeoutExpired(f"process {self.pid}", timeout or 0.0) from None

    def communicate(self, timeout: float | None = None) -> tuple[str, str]:
        """All that it printed, once it ended. Raises `subprocess.TimeoutExpired`."""
        until = None if timeout is None else time.monotonic() + timeout
        told = {name: bytearray() for name in self.streams}
        with selectors.DefaultSelector() as selector:
            for name, stream in self.streams.items():
                selector.register(stream, selectors.EVENT_READ, name)
            while selector.get_map():
                left = None if until is None else until - time.monotonic()
                ready = selector.select(left)
                if not ready:
                    raise subprocess.TimeoutExpired(f"process {self.pid}", timeout or 0.0)
                for key, _ in ready:
                    data = os.read(key.fd, 65536)
                    told[key.data] += data
                    if not data:
                        selector.unregister(key.fileobj)
        self.wait(None if until is None else max(until - time.monotonic(), 0.1))
        for stream in self.streams.values():
            stream.close()
        return told["out"].decode(), told["err"].decode()

    def send_signal(self, number: int) -> None:
        """Nothing where it has ended."""
        if self.poll() is None:
            os.kill(self.pid, number)

    def kill(self) -> None:
        self.send_signal(signal.SIGKILL)

    def terminate(self) -> None:
        self.send_signal(signal.SIGTERM)

    def _wait(self, timeout: float | None) -> int:
        if self.returncode is None:
            self.control.settimeout(timeout)
            told = self.control.recv(32)
            assert told, "the process that forks has died"
            self.returncode = int(told)
            self.control.close()
        return self.returncode


class Server:
    """Starts the process that forks, and asks it for commands."""

    def __init__(self, env: Mapping[str, str]) -> None:
        self.folder = tempfile.mkdtemp()  # not pytest's: the path of a socket must be short
        self.path = str(Path(self.folder) / "socket")
        self.process = subprocess.Popen([sys.executable, __file__, self.path], env=dict(env))

    def start(self, arguments: Sequence[str], folder: Path, env: Mapping[str, str]) -> Forked:
        """A `wald` of these arguments, in a folder."""
        control = socket.socket(socket.AF_UNIX)
        until = time.monotonic() + 120
        while True:
            try:
                control.connect(self.path)
                break
            except OSError:
                assert self.process.poll() is None
                assert time.monotonic() < until
                time.sleep(0.05)
        out, out_end = os.pipe()
        err, err_end = os.pipe()
        request = {"arguments": list(arguments), "folder": str(folder), "env": dict(env)}
        socket.send_fds(control, [json.dumps(request).encode()], [out_end, err_end])
        os.close(out_end)
        os.close(err_end)
        return Forked(control, os.fdopen(out, "rb"), os.fdopen(err, "rb"))

    def stop(self) -> None:
        self.process.kill()
        self.process.wait()
        shutil.rmtree(self.folder)


def _serve(path: str) -> list[str]:
    """Fork per connection. Returns in the fork: the arguments of the command that it is to be."""
    with (
        tempfile.TemporaryDirectory() as folder,
        contextlib.chdir(folder),
        open(os.devnull, "w") as nowhere,
        contextlib.redirect_stdout(nowhere),
        contextlib.redirect_stderr(nowhere),
    ):
        for line in _WARM_UP:
            assert _run(line.split()) == 0, line
    while threading.active_count() > 1:  # a fork would lose the others, and may keep their locks
        time.sleep(0.1)
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(path + ".new")
    listener.listen()
    os.rename(path + ".new", path)
    gc.freeze()
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # those who wait for commands are not waited for
    while True:
        control, _ = listener.accept()
        if os.fork() == 0:
            listener.close()
            break
        control.close()
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    data, ends, _, _ = socket.recv_fds(control, _MOST, 2)
    request = json.loads(data)
    pid = os.fork()
    if pid:
        for end in ends:
            os.close(end)
        control.send(str(pid).encode())
        _, status = os.waitpid(pid, 0)
        with contextlib.suppress(OSError):
            control.send(str(os.waitstatus_to_exitcode(status)).encode())
        os._exit(0)
    control.close()
    for end, number in zip(ends, (1, 2), strict=True):
        os.dup2(end, number)
        os.close(end)
    os.chdir(request["folder"])
    os.environ.clear()
    os.environ.update(request["env"])
    sys.path[0] = ""  # as of `python -c`
    return request["arguments"]


def _run(arguments: Sequence[str]) -> int:
    """The exit status of `wald`."""
    sys.argv = ["-c", *arguments]
    try:
        importlib.import_module("apps.cli").main()
    except SystemExit as ended:
        if ended.code is None or isinstance(ended.code, int):
            return ended.code or 0
        print(ended.code, file=sys.stderr)  # noqa: T201 - as the interpreter does
        return 1
    except BaseException:  # noqa: BLE001 - as the interpreter does
        traceback.print_exc()
        return 1
    return 0


if __name__ == "__main__":
    sys.path.insert(1, str(Path(__file__).parents[2]))
    status = _run(_serve(sys.argv[1]))
    # As at the end of any process, but for tearing down what was imported, which takes a second.
    for thread in threading.enumerate():
        if thread is not threading.current_thread() and not thread.daemon:
            thread.join()
    atexit._run_exitfuncs()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(status)
