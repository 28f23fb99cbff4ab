"""Sums of products of vectors of eight numbers, in loops that are written for the compiler as such.

`surrogates/gp/lanes.py` calls them from compiled code. They are written in LLVM's instructions,
since that is where one can say that eight numbers are one vector, and that sums stay in registers.
No paper.
"""

from collections.abc import Callable
from typing import Any, cast

import numpy as np
from llvmlite import ir
from numba import types
from numba.extending import intrinsic
from numpy.typing import NDArray

Array = NDArray[np.float64]

LANES = 8
TOGETHER = 4  # rows whose sums `scaled_sums` makes at a time
_VECTOR = ir.VectorType(ir.DoubleType(), LANES)
_WORD = ir.IntType(64)


class _Rows:
    """Where rows of an array begin, in code that is being written: vectors, or single numbers."""

    def __init__(
        self, context: Any, builder: Any, kind: Any, array: Any, *, single: bool = False
    ) -> None:
        made = context.make_array(kind)(context, builder, array)
        self.builder, self.single = builder, single
        element = ir.DoubleType() if single else _VECTOR
        self.base = builder.bitcast(made.data, element.as_pointer())
        self.columns = builder.extract_value(made.shape, 1)

    def row(self, at: Any, more: int = 0) -> Any:
        """Where row `at + more` begins."""
        at = self.builder.add(at, ir.Constant(_WORD, more))
        return self.builder.gep(self.base, [self.builder.mul(at, self.columns)])

    def load(self, row: Any, column: Any) -> Any:
        """A vector; of a single number, eight times that."""
        told = self.builder.load(self.builder.gep(row, [column]), align=8)
        if not self.single:
            return told
        zero = ir.Constant(ir.IntType(32), 0)
        one = self.builder.insert_element(ir.Constant(_VECTOR, ir.Undefined), told, zero)
        mask = ir.Constant(ir.VectorType(ir.IntType(32), LANES), [0] * LANES)
        return self.builder.shuffle_vector(one, ir.Constant(_VECTOR, ir.Undefined), mask)


def _loop(builder: Any, first: Any, last: Any, count: int, step: Any) -> list[Any]:
    """A loop of k from `first` to before `last`, with `count` vectors that are summed on the way.

    Args:
        builder: of the code.
        first: of k.
        last: one more than the last of k.
        count: of sums.
        step: of k, gives the two factors of each sum's next term.
    """
    zero = ir.Constant(_VECTOR, [0.0] * LANES)
    before = builder.block
    loop, after = (builder.append_basic_block(name) for name in ("loop", "after"))
    builder.cbranch(builder.icmp_signed("<", first, last), loop, after)
    builder.position_at_end(loop)
    k = builder.phi(_WORD)
    k.add_incoming(first, before)
    held = [builder.phi(_VECTOR) for _ in range(count)]
    following = []
    for total, (left, right) in zip(held, step(k), strict=True):
        term = builder.fmul(left, right, flags=("contract",))
        following.append(builder.fadd(total, term, flags=("contract",)))
    onward = builder.add(k, ir.Constant(_WORD, 1))
    k.add_incoming(onward, loop)
    for total, new in zip(held, following, strict=True):
        total.add_incoming(zero, before)
        total.add_incoming(new, loop)
    builder.cbranch(builder.icmp_signed("<", onward, last), loop, after)
    builder.position_at_end(after)
    told = [builder.phi(_VECTOR) for _ in range(count)]
    for total, new in zip(told, following, strict=True):
        total.add_incoming(zero, before)
        total.add_incoming(new, loop)
    return told


def _store(builder: Any, rows: _Rows, told: list[Any]) -> None:
    for place, vector in enumerate(told):
        builder.store(vector, builder.gep(rows.base, [ir.Constant(_WORD, place)]), align=8)


def _inner(
    typing: Any, sums: Any, a: Any, i: Any, b: Any, j: Any, first: Any, last: Any
) -> tuple[Any, Any]:
    """Inner products of rows i and i + 1 of `a` with j and j + 1 of `b`, from `first` to `last`."""

    def code(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        kinds = signature.args
        to = _Rows(context, builder, kinds[0], args[0])
        left = _Rows(context, builder, kinds[1], args[1])
        right = _Rows(context, builder, kinds[3], args[3])
        lefts = [left.row(args[2], more) for more in range(2)]
        rights = [right.row(args[4], more) for more in range(2)]

        def step(k: Any) -> list[tuple[Any, Any]]:
            some = [left.load(row, k) for row in lefts]
            others = [right.load(row, k) for row in rights]
            return [(one, other) for one in some for other in others]

        _store(builder, to, _loop(builder, args[5], args[6], 4, step))
        return context.get_dummy_value()

    word = types.intp
    return types.void(sums, a, word, b, word, word, word), code


def _scaled_sums(typing: Any, sums: Any, slopes: Any, rows: Any, q: Any) -> tuple[Any, Any]:
    """Of all pairs, the slopes times each of four rows, q and those after it."""

    def code(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        kinds = signature.args
        to = _Rows(context, builder, kinds[0], args[0])
        slope = _Rows(context, builder, kinds[1], args[1])
        row = _Rows(context, builder, kinds[2], args[2], single=True)
        places = [row.row(args[3], more) for more in range(TOGETHER)]

        def step(k: Any) -> list[tuple[Any, Any]]:
            vector = slope.load(slope.base, k)
            return [(vector, row.load(place, k)) for place in places]

        zero = ir.Constant(_WORD, 0)
        _store(builder, to, _loop(builder, zero, row.columns, TOGETHER, step))
        return context.get_dummy_value()

    return types.void(sums, slopes, rows, types.intp), code


def _weighted(
    typing: Any, out: Any, weight: Any, rows: Any, at: Any, count: Any
) -> tuple[Any, Any]:
    """Of each pair, from `at` on, the rows times their weights, summed: a row of `out`."""

    def code(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        kinds = signature.args
        to = _Rows(context, builder, kinds[0], args[0])
        by = _Rows(context, builder, kinds[1], args[1])
        made = context.make_array(kinds[1])(context, builder, args[1])
        p = builder.extract_value(made.shape, 0)
        row = _Rows(context, builder, kinds[2], args[2], single=True)
        zero, one = ir.Constant(_WORD, 0), ir.Constant(_WORD, 1)
        before = builder.block
        loop, after = (builder.append_basic_block(name) for name in ("pairs", "done"))
        builder.cbranch(builder.icmp_signed("<", zero, args[4]), loop, after)
        builder.position_at_end(loop)
        pair = builder.phi(_WORD)
        pair.add_incoming(zero, before)
        column = builder.add(args[3], pair)

        def step(q: Any) -> list[tuple[Any, Any]]:
            return [(by.load(by.base, q), row.load(row.row(q), column))]

        (total,) = _loop(builder, zero, p, 1, step)
        builder.store(total, builder.gep(to.base, [pair]), align=8)
        onward = builder.add(pair, one)
        pair.add_incoming(onward, builder.block)
        builder.cbranch(builder.icmp_signed("<", onward, args[4]), loop, after)
        builder.position_at_end(after)
        return context.get_dummy_value()

    return types.void(out, weight, rows, types.intp, types.intp), code


inner = cast(Callable[[Array, Array, int, Array, int, int, int], None], intrinsic(_inner))
scaled_sums = cast(Callable[[Array, Array, Array, int], None], intrinsic(_scaled_sums))
weighted = cast(Callable[[Array, Array, Array, int, int], None], intrinsic(_weighted))
