"""Bandit and RL methods and problems, one row each. Imports nothing.

A row is (name, "module:factory", kind, capabilities, help); kind is `bandit` or `rl`. Capabilities
of bandit policies: `disjoint` (a parameter vector per arm), `shared` (one for all arms),
`context` (uses the context), `binary-only` (rewards must be 0 or 1).
"""

METHODS: tuple[tuple[str, str, str, str, str], ...] = ()

PROBLEMS: tuple[tuple[str, str, str, str, str], ...] = ()
