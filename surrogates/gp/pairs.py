"""Kernels of all pairs of rows at many hyperparameters, and their derivatives by hand.

Reverse mode: `Covariances.pulled` takes what a scalar's derivative in every covariance is to what
it is in every hyperparameter, and in the columns where these are warped. No paper: the chain rule.

A pair of rows counts once: m = n (n - 1) / 2 pairs, and n variances.
"""

import dataclasses
import math

import torch
from torch import Tensor

from surrogates.gp import kernels
from surrogates.gp.kernels import Factor, Kernel, Term


@dataclasses.dataclass(frozen=True)
class Pairs:
    """What kernels see of the rows; b is 1 where these are the same for all chains.

    Attributes:
        X: (b, n, d) columns.
        upper: (2, m) the rows of each pair.
        difference: (b, d, m) of the columns.
        squares: (b, p, m) of them, summed by groups.
        product: (b, m) the linear kernel.
        own: (b, n) its variances.
    """

    X: Tensor
    upper: Tensor
    difference: Tensor
    squares: Tensor
    product: Tensor
    own: Tensor


def pairs(kernel: Kernel, X: Tensor, upper: Tensor) -> Pairs:
    """Of (b, n, d) columns."""
    row, column = upper
    difference = (X[:, row] - X[:, column]).mT
    which = torch.zeros(kernel.p, X.shape[2], dtype=X.dtype, device=X.device)
    for j, group in enumerate(kernel.groups):
        which[group, j] = 1.0
    product = own = X.new_zeros(1, 1)
    if any(term.linears for term in kernel.terms):
        from_middle = X - 0.5
        share = 12.0 / X.shape[2]
        product = share * (from_middle[:, row] * from_middle[:, column]).sum(dim=2)
        own = share * from_middle.square().sum(dim=2)
    return Pairs(X, upper, difference, which @ difference.square(), product, own)


@dataclasses.dataclass(frozen=True)
class _Seen:
    """A positive factor at all pairs, with what its derivatives need.

    Attributes:
        factor: which.
        log: (c, m) its logarithm.
        squared: (c, m) distances, of those with one.
        sines: per column sin^2, of a periodic one.
    """

    factor: Factor
    log: Tensor
    squared: Tensor | None = None
    sines: tuple[Tensor, ...] = ()


class Covariances:
    """Those of all pairs, for c chains.

    Args:
        kernel: of which.
        x: (c, dim) logarithms of its hyperparameters.
        rows: what it sees; b is 1 or c.

    Attributes:
        k: (c, m) covariances of pairs.
        var: (c, n or 1) variances.
    """

    def __init__(self, kernel: Kernel, x: Tensor, rows: Pairs) -> None:
        self.kernel, self.x, self.rows = kernel, x, rows
        self._seen: list[list[_Seen]] = []
        self._k: list[Tensor] = []
        self._var: list[Tensor] = []
        for term in kernel.terms:
            seen = [self._at(factor) for factor in term.others]
            signal_var = term.signal_var.of(x)
            log, var = signal_var.expand(-1, rows.upper.shape[1]), signal_var.exp()
            for each in seen:
                log = log + each.log
            k = log.exp()
            if term.linears:
                k, var = k * rows.product**term.linears, var * rows.own**term.linears
            self._seen.append(seen)
            self._k.append(k)
            self._var.append(var)
        self.k, self.var = self._k[0], self._var[0]
        for k, var in zip(self._k[1:], self._var[1:], strict=True):
            self.k, self.var = self.k + k, self.var + var

    def pulled(self, of_pairs: Tensor, of_vars: Tensor, warped: tuple[int, ...]) -> list[Tensor]:
        """Derivatives of a scalar by the chain rule.

        Args:
            of_pairs: (c, m) its derivatives in `k`.
            of_vars: (c, n) in the variances.
            warped: columns in which it is wanted too.

        Returns:
            (c, dim) in the logarithms; then of each warped column (c, n) in its values.
        """
        gradient = torch.zeros_like(self.x)
        along = [torch.zeros_like(of_pairs) for _ in warped]
        columns = [torch.zeros_like(of_vars) for _ in warped]
        for term, seen, k, var in zip(
            self.kernel.terms, self._seen, self._k, self._var, strict=True
        ):
            pull = of_pairs * k
            of_var = of_vars * var
            term.signal_var.of(gradient)[:, 0] = pull.sum(dim=1) + of_var.sum(dim=1)
            for each in seen:
                self._back(each, pull, gradient, warped, along)
            if term.linears and warped:
                self._back_linear(term, _logs(seen), of_pairs, of_vars, warped, columns)
        for at, part in enumerate(along):
            matrix = self._matrix(part)
            columns[at] = columns[at] + matrix.sum(dim=2) - matrix.sum(dim=1)
        return [gradient, *columns]

    def _at(self, factor: Factor) -> _Seen:
        rows, x = self.rows, self.x
        assert factor.lengthscale is not None
        weight = torch.exp(-2.0 * factor.lengthscale.of(x))
        if factor.name != "periodic":
            squared = _weighed(weight, rows.squares)
            return _Seen(factor, kernels.log_of(factor.name, squared, _alpha(factor, x)), squared)
        log, sines = torch.zeros_like(rows.difference[:, 0]), list[Tensor]()
        for j, (group, cycle) in enumerate(
            zip(self.kernel.groups, self.kernel.cycles, strict=True)
        ):
            if cycle < 0:
                sines.append(rows.difference[:, j].square() / 4.0)
            else:
                sines.append(torch.sin(self._angle(factor, j, cycle)).square())
            log = log - 2.0 * weight[:, group, None] * sines[-1]
        return _Seen(factor, log, sines=tuple(sines))

    def _angle(self, factor: Factor, j: int, cycle: int) -> Tensor:
        assert factor.more is not None
        period = factor.more.of(self.x)[:, cycle, None].exp()
        return math.pi * self.rows.difference[:, j] / period

    def _back(
        self,
        seen: _Seen,
        pull: Tensor,
        gradient: Tensor,
        warped: tuple[int, ...],
        along: list[Tensor],
    ) -> None:
        """Add a factor's part: pull is the derivative in its logarithm."""
        factor, rows = seen.factor, self.rows
        assert factor.lengthscale is not None
        weight = torch.exp(-2.0 * factor.lengthscale.of(self.x))
        groups, cycles = self.kernel.groups, self.kernel.cycles
        if seen.squared is not None:
            alpha = _alpha(factor, self.x)
            by_square = pull * kernels.slope_of(factor.name, seen.squared, alpha)
            factor.lengthscale.of(gradient)[:] = (
                -2.0 * weight * _weighed_back(by_square, rows.squares)
            )
            if alpha is not None and factor.more is not None:
                z = seen.squared / (2.0 * alpha)
                slope = alpha * (z / (1.0 + z) - torch.log1p(z))
                factor.more.of(gradient)[:, 0] = (pull * slope).sum(dim=1)
            for at, j in enumerate(warped):
                along[at] += 2.0 * weight[:, groups[j], None] * by_square * rows.difference[:, j]
            return
        for j, sine in enumerate(seen.sines):
            w, cycle = weight[:, groups[j], None], cycles[j]
            factor.lengthscale.of(gradient)[:, groups[j]] += 4.0 * (w * pull * sine).sum(dim=1)
            if cycle < 0:
                continue
            assert factor.more is not None
            angle = self._angle(factor, j, cycle)
            turned = 2.0 * w * pull * torch.sin(2.0 * angle)
            factor.more.of(gradient)[:, cycle] += (turned * angle).sum(dim=1)
            if j in warped:
                period = factor.more.of(self.x)[:, cycle, None].exp()
                along[warped.index(j)] -= turned * math.pi / period

    def _back_linear(
        self,
        term: Term,
        rest: Tensor | float,
        of_pairs: Tensor,
        of_vars: Tensor,
        warped: tuple[int, ...],
        columns: list[Tensor],
    ) -> None:
        """Add what the linear factors of a term say of the columns; rest are the others' logs."""
        rows, power = self.rows, term.linears
        share = 12.0 / rows.X.shape[2] * power
        signal_var = term.signal_var.of(self.x)
        pull = share * of_pairs * torch.exp(signal_var + rest) * rows.product ** (power - 1)
        own = 2.0 * share * of_vars * signal_var.exp() * rows.own ** (power - 1)
        matrix = self._matrix(pull)
        matrix = matrix + matrix.mT
        for at, j in enumerate(warped):
            from_middle = (rows.X[:, :, j] - 0.5).expand(len(pull), -1)
            columns[at] += (matrix @ from_middle.unsqueeze(2)).squeeze(2) + own * from_middle

    def _matrix(self, of_pairs: Tensor) -> Tensor:
        """(c, n, n) with (c, m) above the diagonal: sums by rows are in one order, on CUDA too."""
        n = self.rows.X.shape[1]
        row, column = self.rows.upper
        matrix = of_pairs.new_zeros(len(of_pairs), n, n)
        matrix[:, row, column] = of_pairs
        return matrix


def _logs(seen: list[_Seen]) -> Tensor | float:
    """Sum of the logarithms."""
    total: Tensor | float = 0.0
    for each in seen:
        total = total + each.log
    return total


def _alpha(factor: Factor, x: Tensor) -> Tensor | None:
    return factor.more.of(x).exp() if factor.name == "rq" and factor.more is not None else None


def _weighed(weight: Tensor, squares: Tensor) -> Tensor:
    """(c, p) and (b, p, m) to (c, m)."""
    if len(squares) == 1:
        return weight @ squares[0]
    return (weight.unsqueeze(1) @ squares).squeeze(1)


def _weighed_back(pull: Tensor, squares: Tensor) -> Tensor:
    """(c, m) and (b, p, m) to (c, p)."""
    if len(squares) == 1:
        return pull @ squares[0].T
    return (squares @ pull.unsqueeze(2)).squeeze(2)
