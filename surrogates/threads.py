"""One thread for the linear algebra of a fit or an ask. No paper.

OpenBLAS, whose LAPACK the compiled kernels call, gives matrices of a hundred rows to all cores. Its
threads then wait for each other longer than they compute, and all the more beside other work.
"""

import contextlib
import os
from collections.abc import Iterator
from contextvars import ContextVar

_SAID = "OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS"
_inside = ContextVar("inside", default=False)


@contextlib.contextmanager
def one_thread() -> Iterator[None]:
    """OpenBLAS has one thread meanwhile, then as many as before; where the environment says, those.

    The number is one of the process: what other threads of it compute meanwhile has one, too.
    """
    if _inside.get() or any(name in os.environ for name in _SAID):
        yield
        return
    from threadpoolctl import ThreadpoolController

    before = _inside.set(True)
    try:
        with ThreadpoolController().select(internal_api="openblas").limit(limits=1):
            yield
    finally:
        _inside.reset(before)
