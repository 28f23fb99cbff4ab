"""BO methods and problems, one row each: (name, "module:factory", kind, capabilities, help). Imports nothing.

The surrogates of `surrogates/catalog.py` are BO methods too: the default strategy with that
surrogate. Capabilities of methods: `pending` (running trials are conditioned on), `pool` (chooses
among the rows of a finite pool itself; others' proposals are snapped to the nearest unseen row).
"""

METHODS: tuple[tuple[str, str, str, str, str], ...] = (
    ("auto", "bo.strategies.auto:Auto", "bo", "pending pool", "The default: for now gp-map"),
    ("random", "bo.strategies.random:Random", "bo", "pool", "Independent uniform points"),
    ("sobol", "bo.strategies.sobol:Sobol", "bo", "pool", "Scrambled Sobol sequence"),
    ("ax", "bo.strategies.ax:AxDefault", "bo", "pending", "Ax's own default strategy"),
)

PROBLEMS: tuple[tuple[str, str, str, str, str], ...] = ()
