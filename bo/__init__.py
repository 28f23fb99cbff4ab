"""Bayesian optimisation: spaces, studies, strategies and problems.

    import bo
    result = bo.minimize(lambda p: (p["x"] - 2) ** 2, {"x": bo.real(-5, 5)}, budget=20)

Never imports `rl`. Importing this package loads neither torch nor SQLAlchemy; what needs them is
loaded when it is first used.
"""

import importlib
from typing import TYPE_CHECKING, Any

from bo.contract import Problem, Trial
from bo.goals import Goal
from bo.space import Parameter, Space, boolean, choice, fixed, integer, ordinal, real

if TYPE_CHECKING:
    from bo.ax_bridge import ax_model
    from bo.ax_study import from_ax
    from bo.interop import from_optuna
    from bo.study import Result, Study, maximize, minimize

__all__ = [
    "Goal",
    "Parameter",
    "Problem",
    "Result",
    "Space",
    "Study",
    "Trial",
    "ax_model",
    "boolean",
    "choice",
    "fixed",
    "from_ax",
    "from_optuna",
    "integer",
    "maximize",
    "minimize",
    "ordinal",
    "real",
]


def __dir__() -> list[str]:
    return __all__


def __getattr__(name: str) -> Any:
    if name in ("Result", "Study", "maximize", "minimize"):
        return getattr(importlib.import_module("bo.study"), name)
    if name == "ax_model":
        return importlib.import_module("bo.strategies.ax").bridge().ax_model
    if name == "from_ax":
        return importlib.import_module("bo.ax_study").from_ax
    if name == "from_optuna":
        return importlib.import_module("bo.interop").from_optuna
    raise AttributeError(f"module 'bo' has no attribute {name!r}")
