"""What every page needs, loaded by the server beside its own start: the first page comes sooner."""

import gc
import importlib
import threading

_MODULES = ("dashboards.arrange", "dashboards.believing", "dashboards.headline")
_Thread = threading.Thread  # noqa: TID251 - pages start nothing, but this is the server
_threads: list[_Thread] = []


def begin() -> None:
    """Load in the background. For the server, once."""
    thread = _Thread(target=_load, daemon=True)
    _threads.append(thread)
    thread.start()


def wait() -> None:
    """Return when all is loaded: two threads that import the same modules get in each other's way.

    At once where nothing was begun (`streamlit run dashboards/app.py`).
    """
    for thread in _threads:
        thread.join()


def _load() -> None:
    for module in _MODULES:
        importlib.import_module(module)
    # Streamlit collects garbage after each refresh of a page. It need not look through all this
    # every time, which took half of a refresh.
    gc.collect()
    gc.freeze()
