"""Ridge regressions that learn one row at a time, for linear bandits: one per arm, or one for all.

    B = prior_precision I + sum x x'      f = sum r x      mean = B^-1 f      W W' = B^-1

    w = W' x,  s = 1 + w'w = 1 + x' B^-1 x,  gain = W w = B^-1 x        (before the update)
    W <- W - gain w' / (s + sqrt(s))                                    Potter's square-root update
    mean <- mean + gain (r - x' mean) / s

Potter 1963 (in Bierman 1977, "Factorization methods for discrete sequential estimation"). It is the
Sherman-Morrison formula for the root of the inverse: as cheap, O(d^2), but W W' cannot lose
positive definiteness, and W z with z ~ N(0, I) is a draw from N(0, B^-1) without a Cholesky
factor. Rounding is wiped out after every 4096 rows of an arm: W and the mean are computed anew from
B and f.

Shapes: A regressions of d coefficients: B and W (A, d, d); mean and f (A, d). With an intercept, d
is one more than the length of a context.
"""

import math

import torch
from jaxtyping import Float, Int64
from torch import Tensor
from torch.nn import functional as F

from rl.contract import Arms, StateDict

_REFACTOR_EVERY = 4096


class Ridge:
    """A ridge regressions (A = K where arms have parameters of their own, else 1)."""

    def __init__(
        self,
        arms: Arms,
        *,
        prior_precision: float,
        intercept: bool,
        device: torch.device,
        dtype: torch.dtype,
    ) -> None:
        """Begin at the prior: mean 0, precision `prior_precision`.

        Args:
            arms: their number, the length of a context, and whether they share parameters.
            prior_precision: of every coefficient, in units of the noise's precision.
            intercept: whether a constant 1 is added to every context.
            device: where the statistics live.
            dtype: their type.
        """
        self.shared = arms.shared
        self._intercept = intercept
        count, d = (1 if arms.shared else arms.count), arms.d + intercept
        eye = torch.eye(d, device=device, dtype=dtype)
        self.precision = (prior_precision * eye).repeat(count, 1, 1)
        self.root = (prior_precision**-0.5 * eye).repeat(count, 1, 1)
        self.moment = torch.zeros(count, d, device=device, dtype=dtype)
        self.mean = torch.zeros(count, d, device=device, dtype=dtype)
        self._rows = [0] * count
        self._x = torch.ones(d, device=device, dtype=dtype)  # the row being learnt
        self._context = self._x[: arms.d]
        # Windows on each regression's part: indexing costs as much as the arithmetic.
        self._parts = list(zip(self.precision, self.root, self.moment, self.mean, strict=True))

    def features(self, contexts: Float[Tensor, "b K d"]) -> Float[Tensor, "b K e"]:
        """Contexts with the intercept's 1."""
        contexts = contexts.to(self.mean.dtype)
        return F.pad(contexts, (0, 1), value=1.0) if self._intercept else contexts

    def predict(
        self, contexts: Float[Tensor, "b K d"]
    ) -> tuple[Float[Tensor, "b K"], Float[Tensor, "b K"]]:
        """x'mean and x'B^-1 x of every arm (the variance is in units of the noise's)."""
        if self.shared:
            x = self.features(contexts)
            return x @ self.mean[0], (x @ self.root[0]).square().sum(2)
        x = self.features(contexts[:, :1])[:, 0]
        return x @ self.mean.T, torch.matmul(x, self.root).square().sum(2).T

    def update(
        self,
        contexts: Float[Tensor, "b K d"],
        arms: Int64[Tensor, " b"],
        rewards: Float[Tensor, " b"],
    ) -> list[tuple[int, float]]:
        """Learn b rows in their order.

        Returns:
            For each row the regression that learnt it and (r - x'mean)^2 / (1 + x'B^-1 x), both
            from before: what a posterior of the noise needs.
        """
        learnt = []
        for row, (arm, reward) in enumerate(zip(arms.tolist(), rewards.tolist(), strict=True)):
            self._context.copy_(contexts[row, arm])
            x = self._x
            which = 0 if self.shared else arm
            precision, root, moment, mean = self._parts[which]
            w = x @ root
            gain = root @ w
            s = 1.0 + float(w @ w)
            error = reward - float(x @ mean)
            root.addr_(gain, w, alpha=-1.0 / (s + math.sqrt(s)))
            mean.add_(gain, alpha=error / s)
            precision.addr_(x, x)
            moment.add_(x, alpha=reward)
            self._rows[which] += 1
            if self._rows[which] % _REFACTOR_EVERY == 0:
                self._refactor(which)
            learnt.append((which, error * error / s))
        return learnt

    def state_dict(self) -> StateDict:
        """Everything that rows changed."""
        return {
            "precision": self.precision.clone(),
            "root": self.root.clone(),
            "moment": self.moment.clone(),
            "mean": self.mean.clone(),
            "rows": list(self._rows),
        }

    def load_state_dict(self, state: StateDict) -> None:
        """Continue from `state_dict()`."""
        self.precision.copy_(state["precision"])
        self.root.copy_(state["root"])
        self.moment.copy_(state["moment"])
        self.mean.copy_(state["mean"])
        self._rows = list(state["rows"])

    def _refactor(self, which: int) -> None:
        """W and the mean from B and f: with B = L L', W = L^-T."""
        precision, root, moment, mean = self._parts[which]
        lower = torch.linalg.cholesky(precision)
        eye = torch.eye(len(mean), device=mean.device, dtype=mean.dtype)
        root.copy_(torch.linalg.solve_triangular(lower, eye, upper=False).T)
        mean.copy_(root @ (root.T @ moment))
