"""Names of acquisition functions, by what they are for. Imports nothing: catalogs read it."""

ONE_GOAL = ("logei", "lognei", "ucb", "ts")
SEVERAL_GOALS = ("logei", "ehvi")
"""`logei` is the default whatever the goals are: with several of them it means `ehvi`."""
NAMES = tuple(dict.fromkeys(ONE_GOAL + SEVERAL_GOALS))
