"""What to optimise: goals, outcome constraints, a reference point. No paper.

    minimize loss
    minimize loss subject to latency <= 20
    minimize cost, maximize yield subject to purity >= 0.9 reference cost = 10, yield = 0
    minimize `run time, s` subject to `peak memory` <= 3

A name with spaces, commas or `=` stands in backticks; a backtick of its own is doubled there. A
study keeps this text. Outcome constraints are read by the parser of `bo/constraints.py`, never
run as code. Imports no torch: readers of the trial log use it too.
"""

import ast
import dataclasses
import functools
import math
import re
from collections.abc import Mapping, Sequence
from typing import Literal

import numpy as np

from bo.constraints import Constraint, parse, side_values, words
from bo.parameters import real
from surrogates.errors import UsageError

_SUBJECT_TO = " subject to "
_REFERENCE = " reference "
_QUOTED = r"`(?:[^`]|``)+`"
_SUBJECT_TO_AT = re.compile(r"\s+subject\s+to\s+")
_REFERENCE_AT = re.compile(r"\s+reference\s+")
# An outcome of the name `reference` never follows a number, a name or a bracket.
_REFERENCE_AFTER = re.compile(r"(?<=[\w.)`])" + _REFERENCE_AT.pattern)
_GOAL = re.compile(
    rf"\s*(?P<direction>minimize|maximize)\s+(?P<name>{_QUOTED}|[^\s,]+)"
    rf"(?:\s*(?P<more>,)|(?=\s*$|{_SUBJECT_TO_AT.pattern}|{_REFERENCE_AT.pattern}))"
)
_PAIR = re.compile(rf"\s*(?P<name>{_QUOTED}|[^\s,=]+)\s*=(?P<value>[^,]+)(?:,|$)")
_PLAIN = re.compile(r"[^\s,`=]+")
_BETWEEN_WORDS = re.compile(r"(?P<quoted>`[^`]*`)|(?:\s|#[^\n]*)+")
_SIGNS: dict[type[ast.cmpop], str] = {ast.LtE: "<=", ast.Lt: "<", ast.GtE: ">=", ast.Gt: ">"}


@dataclasses.dataclass(frozen=True)
class Goal:
    """One outcome to optimise.

    Attributes:
        name: the key in the values that an objective returns.
        direction: which way is better.
    """

    name: str
    direction: Literal["minimize", "maximize"]

    @property
    def sign(self) -> int:
        """Times an outcome, higher is better."""
        return 1 if self.direction == "maximize" else -1

    def __post_init__(self) -> None:
        if not self.name or self.direction not in ("minimize", "maximize"):
            raise _no_goal(f"{self.direction} {self.name}")

    @staticmethod
    def parse(text: str) -> "Goal":
        """From "minimize loss" or "maximize accuracy". Raises `UsageError`."""
        match = _GOAL.fullmatch(text.strip())
        if match is None or match["more"]:
            raise _no_goal(text)
        return _goal(match)

    def __str__(self) -> str:
        return f"{self.direction} {_quoted(self.name)}"


@dataclasses.dataclass(frozen=True)
class OutcomeConstraint:
    """A comparison of two expressions in outcomes, such as `latency <= 20`.

    Attributes:
        text: as the user wrote it, with one space where there were more, and no comment.
    """

    text: str

    def __post_init__(self) -> None:
        tidy = _BETWEEN_WORDS.sub(lambda match: match["quoted"] or " ", self.text).strip()
        object.__setattr__(self, "text", tidy)
        _ = self._parsed  # refuses a malformed text

    @property
    def names(self) -> tuple[str, ...]:
        """The outcomes in it."""
        return self._parsed.names

    def slack(self, values: Mapping[str, float]) -> float:
        """How far within the constraint: at least 0 where it holds; NaN where undefined."""
        held = {name: np.array([float(values[name])]) for name in self.names}
        left, right = side_values(self._parsed, held)
        gap = right - left if self._sign in ("<=", "<") else left - right
        return float(np.ravel(gap)[0])

    def slack_sem(self, values: Mapping[str, float], sems: Mapping[str, float]) -> float | None:
        """Standard error of `slack`, to first order; None where that of an outcome is unknown."""
        if any(name not in sems for name in self.names):
            return None
        var = 0.0
        for name in self.names:
            step = (max(abs(values[name]), sems[name]) or 1.0) * 1e-6
            up, down = ({**values, name: values[name] + each} for each in (step, -step))
            var += ((self.slack(up) - self.slack(down)) / (2 * step) * sems[name]) ** 2
        return math.sqrt(var)

    def holds(self, values: Mapping[str, float]) -> bool:
        """Whether it holds. Undefined values satisfy no comparison."""
        slack = self.slack(values)
        return slack > 0 if self._sign in ("<", ">") else slack >= 0

    @property
    def _parsed(self) -> Constraint:
        return _parse(self.text)

    @property
    def _sign(self) -> str:
        tree = self._parsed.tree
        assert isinstance(tree, ast.Compare)
        return _SIGNS[type(tree.ops[0])]

    def __str__(self) -> str:
        return self.text


@functools.lru_cache(maxsize=256)
def _parse(text: str) -> Constraint:
    parsed = parse(text, {name: real(-1.0, 1.0) for name in words(text)})
    tree = parsed.tree
    if not isinstance(tree, ast.Compare) or len(tree.ops) > 1 or type(tree.ops[0]) not in _SIGNS:
        raise UsageError(
            f"an outcome constraint expected one comparison by <= or >=, got {text!r}; write "
            "several constraints instead of a chain, and, or, =="
        )
    return parsed


@dataclasses.dataclass(frozen=True)
class Goals:
    """All that a study optimises.

    Attributes:
        goals: at least one; several are traded off against each other.
        constraints: what the outcomes of a point must satisfy for it to count.
        reference: with several goals, the worst value of each that is of interest, in its units:
            hypervolume is measured from there. None: inferred from what was found.
    """

    goals: tuple[Goal, ...]
    constraints: tuple[OutcomeConstraint, ...] = ()
    reference: tuple[float, ...] | None = None

    def __post_init__(self) -> None:
        names = [goal.name for goal in self.goals]
        if not names or len(set(names)) < len(names):
            raise UsageError(f"expected goals of different names, at least one, got {names}")
        if self.reference is not None and len(self.goals) == 1:
            raise UsageError("a reference point expected several goals, got one; leave it out")
        if self.reference is not None and (
            len(self.reference) != len(names) or not all(map(math.isfinite, self.reference))
        ):
            raise _no_reference(names, self.reference)

    @staticmethod
    def of(
        goals: "str | Goal | Goals | Sequence[Goal]",
        subject_to: str | Sequence[str] = (),
        reference: Mapping[str, float] | None = None,
    ) -> "Goals":
        """From what a user gives.

        Args:
            goals: such as "minimize loss" or "minimize cost, maximize yield".
            subject_to: constraints on outcomes, such as "latency <= 20".
            reference: by name of goal.

        Raises:
            UsageError: malformed, or a reference without a value for each goal.
        """
        made = goals if isinstance(goals, Goals) else None
        if made is None:
            if isinstance(goals, str):
                made = Goals.parse(goals)
            elif isinstance(goals, Goal):
                made = Goals((goals,))
            elif isinstance(goals, Sequence) and all(isinstance(goal, Goal) for goal in goals):
                made = Goals(tuple(goals))
            else:
                raise UsageError(f'a goal expected "minimize NAME", got {goals!r:.100}')
        texts = [subject_to] if isinstance(subject_to, str) else list(subject_to)
        more = tuple(OutcomeConstraint(str(text)) for text in texts)
        new = tuple(each for each in more if each not in made.constraints)
        made = dataclasses.replace(made, constraints=made.constraints + new)
        if reference is None:
            return made
        return dataclasses.replace(made, reference=_reference(made.goals, reference))

    @staticmethod
    def parse(text: str) -> "Goals":
        """From the text that `str` gives. Raises `UsageError`."""
        text = text.strip()
        goals: list[Goal] = []
        at, more = 0, True
        while more:
            match = _GOAL.match(text, at)
            if match is None:
                raise _no_goal(text[at:])
            goals.append(_goal(match))
            at, more = match.end(), match["more"] is not None
        constraints: list[str] = []
        begin = _SUBJECT_TO_AT.match(text, at)
        if begin:
            constraints, at = _split(text, begin.end())
        made = Goals(tuple(goals), tuple(map(OutcomeConstraint, constraints)))
        begin = _REFERENCE_AT.match(text, at)
        if begin is None:
            return made
        given = _pairs(text[begin.end() :])
        return dataclasses.replace(made, reference=_reference(made.goals, given))

    @property
    def several(self) -> bool:
        """Whether there is more than one goal."""
        return len(self.goals) > 1

    @property
    def only(self) -> Goal:
        """The goal of a study that has one. Raises `UsageError` where there are several."""
        if self.several:
            raise UsageError(
                f"expected one goal, got {len(self.goals)} ({self}); ask for one, or for the front"
            )
        return self.goals[0]

    @property
    def outcomes(self) -> tuple[str, ...]:
        """The names that every outcome must hold: goals first, then those of the constraints."""
        named = [name for constraint in self.constraints for name in constraint.names]
        return tuple(dict.fromkeys([*(goal.name for goal in self.goals), *named]))

    @property
    def measure(self) -> Goal:
        """What progress is measured by: the goal itself, or the hypervolume of several."""
        return Goal("hypervolume", "maximize") if self.several else self.goals[0]

    def feasible(self, values: Mapping[str, float]) -> bool:
        """Whether the outcomes of a point satisfy all constraints."""
        return all(constraint.holds(values) for constraint in self.constraints)

    def __str__(self) -> str:
        text = ", ".join(map(str, self.goals))
        if self.constraints:
            text += _SUBJECT_TO + ", ".join(map(str, self.constraints))
        if self.reference is not None:
            pairs = zip(self.goals, self.reference, strict=True)
            told = (f"{_quoted(goal.name)} = {float(value)!r}" for goal, value in pairs)
            text += _REFERENCE + ", ".join(told)
        return text


def _reference(goals: Sequence[Goal], given: Mapping[str, float]) -> tuple[float, ...]:
    names = [goal.name for goal in goals]
    if sorted(given) != sorted(names) or not all(math.isfinite(v) for v in given.values()):
        raise _no_reference(names, dict(given))
    return tuple(float(given[name]) for name in names)


def _no_reference(names: Sequence[str], given: object) -> UsageError:
    return UsageError(
        f"a reference point expected a finite value for each of {', '.join(names)}, got "
        f"{given!r:.100}"
    )


def _no_goal(text: str) -> UsageError:
    words = text.split()
    hint = ": with a z" if words and words[0] in ("minimise", "maximise") else ""
    return UsageError(f'a goal expected "minimize NAME" or "maximize NAME"{hint}, got {text!r}')


def _goal(match: re.Match[str]) -> Goal:
    direction = "maximize" if match["direction"] == "maximize" else "minimize"
    return Goal(_unquoted(match["name"]), direction)


def _quoted(name: str) -> str:
    """A name as it stands in the text of goals."""
    return name if _PLAIN.fullmatch(name) else "`" + name.replace("`", "``") + "`"


def _unquoted(text: str) -> str:
    return text[1:-1].replace("``", "`") if re.fullmatch(_QUOTED, text) else text


def _pairs(text: str) -> dict[str, float]:
    """Numbers by name, of "NAME = number, ..."."""
    held: dict[str, float] = {}
    at = 0
    while at < len(text):
        match = _PAIR.match(text, at)
        try:
            if match is None:
                raise ValueError
            held[_unquoted(match["name"])] = float(match["value"])
        except ValueError:
            raise UsageError(
                f'a reference point expected "NAME = number, ...", got {text!r}'
            ) from None
        at = match.end()
    return held


def _split(text: str, start: int) -> tuple[list[str], int]:
    """At commas that neither parentheses nor backticks hold, up to a reference point; its place."""
    parts: list[str] = []
    depth, quoted, at = 0, False, start
    while at < len(text):
        letter = text[at]
        quoted ^= letter == "`"
        if not quoted:
            depth += (letter == "(") - (letter == ")")
            if depth == 0 and letter.isspace() and _REFERENCE_AFTER.match(text, at):
                break
            if depth == 0 and letter == ",":
                parts.append(text[start:at])
                start = at + 1
        at += 1
    return [*parts, text[start:at]], at
