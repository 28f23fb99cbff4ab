"""Constraints between parameters: texts in the user's own names, parsed and never run. No paper.

    a + b <= 1        lr * depth <= 1        x1 + x2 + x3 == 1        act == "relu" or slope < 0.1

Numbers, parameters, `+ - * / **`, parentheses, the functions of `FUNCTIONS`, comparisons, and
`and`, `or`, `not`. A name that is no identifier stands in backticks. A parameter of texts or
booleans can be compared with `==` and `!=`, a boolean also stands alone. Undefined values, such as
the square root of a negative number, satisfy no comparison.

A constraint with a parameter that is not active at a point holds there.

Python's own parser reads the text; what it makes of it is then walked, node by node, and whatever
is not in the list above is refused.
"""

import ast
import dataclasses
import keyword
import re
import unicodedata
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from bo.parameters import Parameter
from surrogates.errors import UsageError
from surrogates.options import unknown

TOLERANCE = 1e-9
"""Relative: how far an equality may be off, and a given point may lie beyond an inequality."""

_LONGEST = 2000
_OPERATORS = {"and", "or", "not", "is", "in", "if", "else", "for", "True", "False", "None"}
_NAMES_TO_A_USER = re.compile(rf"\b({'|'.join(sorted({*keyword.kwlist} - _OPERATORS))})\b")
_DEEPEST = 50

FUNCTIONS: dict[str, Callable[..., Any]] = {
    "sqrt": np.sqrt,
    "exp": np.exp,
    "log": np.log,
    "abs": np.abs,
    "sin": np.sin,
    "cos": np.cos,
    "min": np.minimum,
    "max": np.maximum,
}
_OPERATIONS: dict[type[ast.operator], Callable[[Any, Any], Any]] = {
    ast.Add: np.add,
    ast.Sub: np.subtract,
    ast.Mult: np.multiply,
    ast.Div: np.divide,
    ast.Pow: np.power,
}
_SIGNS: dict[type[ast.cmpop], str] = {
    ast.LtE: "<=",
    ast.GtE: ">=",
    ast.Lt: "<",
    ast.Gt: ">",
    ast.Eq: "==",
    ast.NotEq: "!=",
}
_Kind = Literal["number", "truth", "text"]
_WORDS = {"number": "a number", "truth": "a condition", "text": "a text"}


@dataclasses.dataclass(frozen=True)
class Linear:
    """The sum of coefficient times parameter is at most (of an equality: is) `bound`.

    Attributes:
        coefficients: by parameter, none of them 0, in the user's own units.
        bound: the right side.
        equality: whether both sides are equal.
        strict: whether the sum has to be less.
    """

    coefficients: Mapping[str, float]
    bound: float
    equality: bool
    strict: bool


@dataclasses.dataclass(frozen=True)
class Constraint:
    """A condition on the parameters of a point; made by `parse`.

    Attributes:
        text: as the user wrote it.
        names: the parameters in it, in the order of the space.
        linear: the same as linear rows that all hold; empty where it is not linear.
        tree: the parsed text.
        known: name of the parameter by its name in `tree`.
    """

    text: str
    names: tuple[str, ...]
    linear: tuple[Linear, ...]
    tree: ast.expr = dataclasses.field(repr=False, compare=False)
    known: Mapping[str, str] = dataclasses.field(repr=False, compare=False)

    def holds(self, values: Mapping[str, Any], *, slack: float = 0.0) -> NDArray[np.bool_]:
        """Whether it holds, of shape (n,).

        Args:
            values: (n,) values by parameter, all active.
            slack: relative, how far a point may lie beyond `<=` and `>=`. An equality has
                `TOLERANCE` whatever this is, `<` and `>` have none.
        """
        n = len(next(iter(values.values())))
        with np.errstate(all="ignore"):
            truth = _truth(self.tree, _Point(values, self.known, slack))
        return np.broadcast_to(truth, (n,)).astype(np.bool_)

    def broken(self, point: Mapping[str, Any]) -> str:
        """By how much a point violates it, for an error."""
        shown = ", ".join(f"{name} = {point[name]!r}" for name in self.names)
        tree = self.tree
        if not isinstance(tree, ast.Compare) or len(tree.ops) > 1:
            return f"expected {self.text}, got {shown}"
        values = _Point(
            {name: np.array([point[name]]) for name in self.names}, self.known, slack=0.0
        )
        with np.errstate(all="ignore"):
            sides = [_value(side, values) for side in (tree.left, tree.comparators[0])]
        left, right = (np.ravel(side)[0] for side in sides)
        if isinstance(left, (str, np.bool_, bool)):
            return f"expected {self.text}, got {shown}"
        off = abs(float(left) - float(right))
        return (
            f"expected {self.text}, got {float(left):.10g} on the left and {float(right):.10g} on "
            f"the right, {off:.3g} apart, at {shown}"
        )


def parse(text: Any, parameters: Mapping[str, Parameter]) -> Constraint:
    """A constraint from its text.

    Raises:
        UsageError: not a text, no condition, an unknown name (the nearest is suggested),
            arithmetic with what is no number, an equality of reals that is not linear.
    """
    if not isinstance(text, str) or not text.strip() or len(text) > _LONGEST:
        raise UsageError(f'a constraint expected a text such as "a + b <= 1", got {text!r:.100}')
    plain, known = _plain(_quoting_keywords(text), parameters)
    try:
        tree = ast.parse(plain.strip(), mode="eval").body
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        raise UsageError(
            f"a constraint expected a condition such as a + b <= 1, got {text!r}; write names that "
            "are no identifiers in `backticks`"
        ) from None
    walk = _Walk(text, parameters, known)
    if walk.kind(tree, 0) != "truth":
        raise UsageError(f"a constraint expected a comparison such as a + b <= 1, got {text!r}")
    if not walk.used:
        raise UsageError(f"a constraint expected a parameter in it, got none in {text!r}")
    linear = tuple(walk.rows(tree) or ())
    if not linear:
        walk.refuse_equalities(tree)
    names = tuple(name for name in parameters if name in walk.used)
    return Constraint(text, names, linear, tree, known)


def words(text: str) -> list[str]:
    """The names in a constraint, known or not, in order; none where it cannot be read."""
    quoted: dict[str, str] = {}

    def free(match: re.Match[str]) -> str:
        quoted[f"_quoted_{len(quoted)}_"] = match[1]
        return f" _quoted_{len(quoted) - 1}_ "

    try:
        plain = re.sub(r"`([^`]*)`", free, _quoting_keywords(str(text)))
        tree = ast.parse(plain.strip(), mode="eval").body
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return []
    return list(dict.fromkeys(quoted.get(name, name) for name in _names(tree)))


def side_values(constraint: Constraint, values: Mapping[str, Any]) -> tuple[Any, Any]:
    """Both sides of a constraint that is one comparison, at (n,) values by name."""
    assert isinstance(constraint.tree, ast.Compare)
    at = _Point(values, constraint.known, slack=0.0)
    with np.errstate(all="ignore"):
        left, right = (
            np.asarray(_value(side, at), dtype=np.float64)
            for side in (constraint.tree.left, constraint.tree.comparators[0])
        )
    return left, right


@dataclasses.dataclass(frozen=True)
class _Point:
    """What a tree is evaluated at."""

    values: Mapping[str, Any]
    known: Mapping[str, str]
    slack: float


def _value(node: ast.expr, at: _Point) -> Any:
    """Numbers, texts or truths of shape (n,), or one for all."""
    match node:
        case ast.Constant():
            return node.value
        case ast.Name():
            return at.values[at.known[node.id]]
        case ast.UnaryOp(op=ast.USub()):
            return np.negative(_value(node.operand, at))
        case ast.UnaryOp(op=ast.UAdd()):
            return _value(node.operand, at)
        case ast.BinOp():
            left, right = (
                np.asarray(_value(side, at), dtype=np.float64) for side in (node.left, node.right)
            )
            return _OPERATIONS[type(node.op)](left, right)
        case ast.Call(func=ast.Name()):
            function = FUNCTIONS[_called(node)]
            arguments = [np.asarray(_value(a, at), dtype=np.float64) for a in node.args]
            found = arguments[0] if len(arguments) > 1 else function(arguments[0])
            for other in arguments[1:]:
                found = function(found, other)
            return found
        case _:
            return _truth(node, at)


def _truth(node: ast.expr, at: _Point) -> Any:
    match node:
        case ast.BoolOp():
            parts = [_truth(value, at) for value in node.values]
            join = np.logical_and if isinstance(node.op, ast.And) else np.logical_or
            return join.reduce(np.broadcast_arrays(*parts))
        case ast.UnaryOp(op=ast.Not()):
            # Strict within: what is beyond an inequality by its slack alone is not its contrary.
            return np.logical_not(_truth(node.operand, dataclasses.replace(at, slack=0.0)))
        case ast.Compare():
            sides = [node.left, *node.comparators]
            parts = [
                _compared(_SIGNS[type(op)], left, right, at)
                for left, op, right in zip(sides[:-1], node.ops, sides[1:], strict=True)
            ]
            return np.logical_and.reduce(np.broadcast_arrays(*parts))
        case _:
            return np.asarray(_value(node, at), dtype=np.bool_)


def _compared(sign: str, first: ast.expr, second: ast.expr, at: _Point) -> Any:
    left, right = np.asarray(_value(first, at)), np.asarray(_value(second, at))
    if left.dtype.kind not in "fiu" or right.dtype.kind not in "fiu":
        return left == right if sign == "==" else left != right
    if sign in ("<", ">"):
        return left < right if sign == "<" else left > right
    off = TOLERANCE if sign in ("==", "!=") else at.slack
    reach = off * np.maximum(_size(first, at), _size(second, at)) if off else 0.0
    if sign in ("==", "!="):
        return (np.abs(left - right) <= reach) == (sign == "==")
    return left <= right + reach if sign == "<=" else left >= right - reach


def _size(node: ast.expr, at: _Point) -> Any:
    """The sum of the sizes of the terms of a sum: what rounding errors of it are relative to."""
    if isinstance(node, ast.BinOp) and isinstance(node.op, (ast.Add, ast.Sub)):
        return _size(node.left, at) + _size(node.right, at)
    return np.abs(_value(node, at))


class _Walk:
    """One pass over a tree: what everything in it is, and which parameters are used."""

    def __init__(
        self, text: str, parameters: Mapping[str, Parameter], known: Mapping[str, str]
    ) -> None:
        self.text = text
        self.parameters = parameters
        self.known = known
        self.used: set[str] = set()

    def kind(self, node: ast.expr, depth: int) -> _Kind:
        """Number, truth or text; refuses everything else."""
        if depth > _DEEPEST:
            raise self.error("expected a simpler text")
        match node:
            case ast.Constant(value=bool()):
                return "truth"
            case ast.Constant(value=str()):
                return "text"
            case ast.Constant(value=int() | float()):
                node.value = _float(node.value)  # whole numbers of any length are Python's alone
                if not np.isfinite(node.value):
                    raise self.error("expected finite numbers")
                return "number"
            case ast.Name():
                return self.name(node.id)
            case ast.UnaryOp(op=ast.USub() | ast.UAdd()):
                return self.number(node.operand, depth)
            case ast.UnaryOp(op=ast.Not()):
                return self.truth(node.operand, depth)
            case ast.BinOp() if type(node.op) in _OPERATIONS:
                self.number(node.left, depth)
                return self.number(node.right, depth)
            case ast.BoolOp():
                for value in node.values:
                    self.truth(value, depth)
                return "truth"
            case ast.Compare():
                return self.comparison(node, depth)
            case ast.Call(func=ast.Name()) if not node.keywords:
                return self.call(_called(node), node.args, depth)
            case _:
                told = ast.unparse(node)
                raise self.error(
                    "expected numbers, parameters, + - * / **, comparisons, and, or, not and the "
                    f"functions {', '.join(FUNCTIONS)}; {told!r} is none of them"
                )

    def name(self, name: str) -> _Kind:
        """What a parameter is."""
        if name not in self.known:
            known = [*self.parameters]
            raise UsageError(
                f"in the constraint {self.text!r}: {unknown('parameter', name, known)}"
            )
        self.used.add(self.known[name])
        parameter = self.parameters[self.known[name]]
        if parameter.numeric:
            return "number"
        return "truth" if all(isinstance(v, bool) for v in parameter.values) else "text"

    def number(self, node: ast.expr, depth: int) -> _Kind:
        """Refuses what is no number."""
        return self.wanted("number", node, depth)

    def truth(self, node: ast.expr, depth: int) -> _Kind:
        """Refuses what is no condition."""
        return self.wanted("truth", node, depth)

    def wanted(self, kind: _Kind, node: ast.expr, depth: int) -> _Kind:
        """Refuses what is of another kind."""
        found = self.kind(node, depth + 1)
        if found != kind:
            told = self.told(node)
            raise self.error(f"expected {_WORDS[kind]}, and {told} is {_WORDS[found]}")
        return kind

    def call(self, name: str, arguments: list[ast.expr], depth: int) -> _Kind:
        """A function with as many arguments as it takes."""
        if name not in FUNCTIONS:
            raise UsageError(
                f"in the constraint {self.text!r}: {unknown('function', name, FUNCTIONS)}"
            )
        many = name in ("min", "max")
        if len(arguments) < 2 if many else len(arguments) != 1:
            wanted = "two arguments or more" if many else "one argument"
            raise self.error(f"expected {wanted} of {name}")
        for argument in arguments:
            self.number(argument, depth)
        return "number"

    def comparison(self, node: ast.Compare, depth: int) -> _Kind:
        """Sides of one kind, and texts that a parameter can be."""
        sides = [node.left, *node.comparators]
        kinds = [self.kind(side, depth + 1) for side in sides]
        for op in node.ops:
            if type(op) not in _SIGNS:
                raise self.error(f"expected one of {' '.join(_SIGNS.values())}")
        for at, op in enumerate(node.ops):
            first, second = kinds[at : at + 2]
            if first == second == "number":
                continue
            if first != second and "text" not in (first, second):
                told = [self.told(side) for side in sides[at : at + 2]]
                raise self.error(
                    f"expected two numbers or two conditions, and {told[0]} is {_WORDS[first]}, "
                    f"{told[1]} {_WORDS[second]}"
                )
            if not isinstance(op, (ast.Eq, ast.NotEq)):
                raise self.error(f"expected == or != where {self.told(sides[at])} is no number")
            self.level(sides[at], sides[at + 1])
            self.level(sides[at + 1], sides[at])
        return "truth"

    def level(self, name: ast.expr, constant: ast.expr) -> None:
        """Refuses to compare a parameter with what it can't be."""
        if not isinstance(name, ast.Name) or not isinstance(constant, ast.Constant):
            return
        own = self.known[name.id]
        value: Any = constant.value
        values = self.parameters[own].values
        if not any(value == v and isinstance(v, bool) == isinstance(value, bool) for v in values):
            message = unknown(f"value of parameter {own}", str(value), map(str, values))
            raise UsageError(f"in the constraint {self.text!r}: {message}")

    def told(self, node: ast.expr) -> str:
        """A part of the text for a message."""
        return self.known.get(node.id, node.id) if isinstance(node, ast.Name) else ast.unparse(node)

    def error(self, message: str) -> UsageError:
        return UsageError(f"in the constraint {self.text!r}: {message}")

    def rows(self, node: ast.expr) -> list[Linear] | None:
        """Linear rows that say the same, or None."""
        if isinstance(node, ast.BoolOp) and isinstance(node.op, ast.And):
            parts = [self.rows(value) for value in node.values]
            return None if None in parts else [row for part in parts for row in part or ()]
        if not isinstance(node, ast.Compare):
            return None
        found: list[Linear] = []
        sides = [self.linear(side) for side in (node.left, *node.comparators)]
        for left, op, right in zip(sides[:-1], node.ops, sides[1:], strict=True):
            if left is None or right is None or isinstance(op, ast.NotEq):
                return None
            sign = -1.0 if isinstance(op, (ast.Gt, ast.GtE)) else 1.0
            names = dict.fromkeys([*left[0], *right[0]])
            row = {n: sign * (left[0].get(n, 0.0) - right[0].get(n, 0.0)) for n in names}
            row = {name: coefficient for name, coefficient in row.items() if coefficient}
            if not row:
                return None
            bound = sign * (right[1] - left[1])
            equality = isinstance(op, ast.Eq)
            found.append(Linear(row, bound, equality, isinstance(op, (ast.Lt, ast.Gt))))
        return found

    def linear(self, node: ast.expr) -> tuple[dict[str, float], float] | None:
        """Coefficients and constant of a number, or None."""
        match node:
            case ast.Constant(value=float()):
                return {}, _float(node.value)
            case ast.Name():
                own = self.known[node.id]
                parameter = self.parameters[own]
                if parameter.type == "fixed" and parameter.numeric:
                    return {}, float(parameter.values[0])
                ordered = parameter.type in ("real", "integer", "ordinal")
                return ({own: 1.0}, 0.0) if ordered and parameter.numeric else None
            case ast.UnaryOp(op=ast.USub()):
                return _times(self.linear(node.operand), -1.0)
            case ast.UnaryOp(op=ast.UAdd()):
                return self.linear(node.operand)
            case ast.BinOp():
                return self.operation(node)
            case _:
                return None

    def operation(self, node: ast.BinOp) -> tuple[dict[str, float], float] | None:
        left, right = self.linear(node.left), self.linear(node.right)
        if left is None or right is None:
            return None
        match node.op:
            case ast.Add():
                return _plus(left, right)
            case ast.Sub():
                return _plus(left, _times(right, -1.0))
            case ast.Mult():
                if not left[0]:
                    return _times(right, left[1])
                return _times(left, right[1]) if not right[0] else None
            case ast.Div():
                return _times(left, 1.0 / right[1]) if not right[0] and right[1] else None
            case ast.Pow():
                if left[0] or right[0]:
                    return left if not right[0] and right[1] == 1.0 else None
                with np.errstate(all="ignore"):
                    power = float(np.power(left[1], right[1]))
                return ({}, power) if np.isfinite(power) else None
            case _:
                return None

    def refuse_equalities(self, tree: ast.expr) -> None:
        """An equality of reals has to stand alone and be linear, so that points can be made."""
        for node in ast.walk(tree):
            if not isinstance(node, ast.Compare):
                continue
            sides = [node.left, *node.comparators]
            for at, op in enumerate(node.ops):
                names = {*_names(sides[at]), *_names(sides[at + 1])}
                reals = [n for n in names if self.parameters[self.known[n]].type == "real"]
                if isinstance(op, ast.Eq) and reals:
                    raise self.error(
                        "expected an equality to be linear in its parameters and to stand alone or "
                        "beside `and`; solve it for one parameter and leave that one out"
                    )


def _plus(
    left: tuple[dict[str, float], float], right: tuple[dict[str, float], float] | None
) -> tuple[dict[str, float], float] | None:
    if right is None:
        return None
    names = dict.fromkeys([*left[0], *right[0]])
    total = {n: left[0].get(n, 0.0) + right[0].get(n, 0.0) for n in names}
    return total, left[1] + right[1]


def _times(
    term: tuple[dict[str, float], float] | None, factor: float
) -> tuple[dict[str, float], float] | None:
    if term is None or not np.isfinite(factor):
        return None
    return {name: factor * own for name, own in term[0].items()}, factor * term[1]


def _names(node: ast.expr) -> Iterator[str]:
    functions = {id(n.func) for n in ast.walk(node) if isinstance(n, ast.Call)}
    return (n.id for n in ast.walk(node) if isinstance(n, ast.Name) and id(n) not in functions)


def _called(node: ast.Call) -> str:
    """The name of the function; `""` where it is called in another way."""
    return node.func.id if isinstance(node.func, ast.Name) else ""


def _float(value: Any) -> float:
    try:
        return float(value)
    except OverflowError:
        return float("inf")


def _quoting_keywords(text: str) -> str:
    """The text with Python's keywords in backticks, such as `yield` and `lambda`: names to a user.

    But for those that a condition may hold.
    """
    parts = re.split(r"(`[^`]*`)", text)
    parts[::2] = [_NAMES_TO_A_USER.sub(r"`\g<0>`", part) for part in parts[::2]]
    return "".join(parts)


def _plain(text: str, parameters: Mapping[str, Parameter]) -> tuple[str, dict[str, str]]:
    """The text with names in backticks replaced, and the parameter by name in it."""
    # Python reads identifiers in their normal form (NFKC), and keywords as no names.
    known = {
        unicodedata.normalize("NFKC", name): name
        for name in parameters
        if name.isidentifier() and not keyword.iskeyword(name)
    }
    parts = re.split(r"`([^`]*)`", text)
    if len(parts) == 1:
        return text, known
    for position in range(1, len(parts), 2):
        name = parts[position]
        if name not in parameters:
            message = unknown("parameter", name, parameters)
            raise UsageError(f"in the constraint {text!r}: {message}")
        free = f"quoted_{position}"
        while free in known:
            free += "_"
        known[free] = name
        parts[position] = f" {free} "
    return "".join(parts), known
