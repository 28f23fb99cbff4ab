"""What runs inside a worker process: receive a callable and arguments, evaluate, reply.

Started by path from `bo/workers.py`, and imports nothing of ours: inside the user's objective
`import bo` must find the user's own `bo.py` where there is one, and ours otherwise.

Messages are bytes with a length in front, over one inherited socket. Parent to worker: first the
search path, our folder and our packages' names; then requests, `(key, callable or None, arguments,
owned)`, the callable once per key. Worker to parent: `S` the evaluation starts, all is loaded;
`R` a result; `E` an exception.
"""

import glob
import importlib
import io
import itertools
import os
import pickle
import queue
import signal
import sys
import threading
import traceback
from collections.abc import Callable, Iterable
from importlib.machinery import ModuleSpec
from multiprocessing.connection import Connection
from typing import Any

PARENT_CHECK_SECONDS = 1.0


def holds_python(folder: str) -> bool:
    """Whether there is a Python file in a folder or just below it; no deeper, it may be data."""
    found = (glob.iglob(glob.escape(folder) + tail) for tail in ("/*.py", "/*/*.py"))
    return next(itertools.chain.from_iterable(found), None) is not None


class FoldersFirst:
    """Lets a user's `rl/` without `__init__.py` be a package, although ours comes later.

    Python prefers a package with that file, wherever on the path it lies. A folder without any
    Python in it is no package.

    Args:
        names: of our packages.
    """

    def __init__(self, names: Iterable[str]):
        self.names = frozenset(names)

    def find_spec(self, name: str, path: Any = None, target: Any = None) -> ModuleSpec | None:
        """Called by the import system before its own finders."""
        if path is not None or name not in self.names:
            return None
        for folder in (os.path.join(entry, name) for entry in sys.path):
            if os.path.isfile(f"{folder}.py") or os.path.isfile(
                os.path.join(folder, "__init__.py")
            ):
                return None
            if holds_python(folder):
                spec = ModuleSpec(name, None, is_package=True)
                spec.submodule_search_locations = [folder]
                return spec
        return None


class Unpickler(pickle.Unpickler):
    """Loads what the parent sent; its references to our packages mean ours, not the user's.

    A name becomes ours for the rest of the worker's life, so what is sent with a user's objective
    should hold no such reference: then the user's modules come first.
    """

    def __init__(self, data: bytes, home: str, owned: Iterable[str]):
        super().__init__(io.BytesIO(data))
        self.home = home
        self.owned = frozenset(owned)

    def find_class(self, module_name: str, global_name: str, /) -> Any:
        self.settle(module_name)
        found = super().find_class(module_name, global_name)
        if (module_name, global_name) != ("cloudpickle.cloudpickle", "subimport"):
            return found

        def subimport(name: str) -> Any:  # how cloudpickle refers to a whole module
            self.settle(name)
            return found(name)

        return subimport

    def settle(self, module: str) -> None:
        """Load our package of this name, and the lowest layer that it stands on."""
        top = module.partition(".")[0]
        if top not in self.owned:
            return
        for name in ("surrogates", top):
            folder = os.path.join(self.home, name)
            if folder in getattr(sys.modules.get(name), "__path__", ()):
                continue
            for loaded in [m for m in sys.modules if m == name or m.startswith(f"{name}.")]:
                del sys.modules[loaded]
            sys.path.insert(0, self.home)
            try:
                importlib.import_module(name)
            finally:
                sys.path.remove(self.home)


def watch(pipe: Connection, requests: "queue.SimpleQueue[bytes]", parent: int) -> None:
    """Read requests; end this process and its group as soon as the parent is gone.

    In a thread, so that the end is noticed during an evaluation too. The parent's id is looked at
    as well: a process that the parent forked may hold the other end of the socket open.
    """
    try:
        while True:
            if pipe.poll(PARENT_CHECK_SECONDS):
                requests.put(pipe.recv_bytes())
            elif os.getppid() != parent:
                break
    except (EOFError, OSError):
        pass
    os.killpg(os.getpgrp(), signal.SIGKILL)


def failure(error: BaseException, dumps: Callable[[Any], bytes]) -> bytes:
    """The reply for an exception: itself if it can be pickled, its text, its traceback."""
    own = error.__traceback__
    while own is not None and own.tb_frame.f_code.co_filename == __file__:
        own = own.tb_next
    trace = "".join(traceback.format_exception(type(error), error, own))
    text = traceback.format_exception_only(type(error), error)[0].strip()
    pickled = None
    if isinstance(error, Exception):  # SystemExit and its like must not end the parent
        try:
            pickled = dumps(error)
        except Exception:  # noqa: BLE001 - pickling runs the user's code, which may raise anything
            pickled = None
    return b"E" + pickle.dumps((pickled, text, trace))


def success(value: Any, dumps: Callable[[Any], bytes]) -> bytes:
    """The reply for a result, or for its being unfit to travel."""
    try:
        return b"R" + dumps(value)
    except Exception as error:  # noqa: BLE001 - pickling runs the user's code, which may raise anything
        reason = TypeError(
            "expected a result that can be sent between processes, got "
            f"{type(value).__qualname__!r} ({error}); return a number or a mapping of numbers"
        )
        return failure(reason, dumps)


def main() -> None:
    """Serve requests until the parent closes the socket."""
    descriptor, parent = int(sys.argv[1]), int(sys.argv[2])
    del sys.argv[1:]
    os.set_inheritable(descriptor, False)
    sys.stdout.reconfigure(line_buffering=True)  # pyright: ignore[reportAttributeAccessIssue]
    pipe = Connection(descriptor)
    requests: queue.SimpleQueue[bytes] = queue.SimpleQueue()
    threading.Thread(target=watch, args=(pipe, requests, parent), daemon=True).start()

    path, home, names = pickle.loads(requests.get())
    sys.path[:] = path[1:]  # without the user's folder, whose files may shadow what we need
    dumps = importlib.import_module("cloudpickle").dumps
    sys.path[:] = path
    sys.meta_path.insert(0, FoldersFirst(names))

    key, call = b"", None
    while True:
        wanted, callable_data, data, owned = pickle.loads(requests.get())
        try:
            if wanted != key:
                key, call = b"", Unpickler(callable_data, home, owned).load()
                key = wanted
            args, kwargs = Unpickler(data, home, owned).load()
            pipe.send_bytes(b"S")
            reply = success(call(*args, **kwargs), dumps)  # pyright: ignore[reportOptionalCall]
        except BaseException as error:  # noqa: BLE001 - whatever the objective raises is its result
            reply = failure(error, dumps)
        args = kwargs = None  # a large argument should not live until the next request
        pipe.send_bytes(reply)


if __name__ == "__main__":
    main()
