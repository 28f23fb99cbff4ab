"""What all fully Bayesian Gaussian processes share: data to density, draws to model. No paper.

A surrogate of this kind is one file beside this one: its engine's options, and `fit`, which lets
the engine draw from the density that `Problem` makes and hands the draws to `Problem.model`.
"""

import dataclasses
import math
import time
from collections.abc import Mapping
from typing import Any

import torch
from torch import Generator, Tensor

from surrogates.contract import State, check_data, least_spread
from surrogates.gp import hyperpriors, kernels
from surrogates.gp.hyperposterior import Data, Hyperposterior
from surrogates.gp.mixture import MixtureGP
from surrogates.gp.periods import peaks
from surrogates.gp.sampled import Sampled
from surrogates.inference import hmc, laplace
from surrogates.inference.contract import Draws
from surrogates.inference.resampling import lightened, systematic
from surrogates.inputs import Inputs
from surrogates.options import option, options

_SEARCHES, _MANY_SEARCHES = 4, 32
_PERIODS = 4


@options
class Options:
    """The model; and how many draws it keeps."""

    kernel: str = option(default="matern52", help=kernels.HELP, check=kernels.check)
    prior: str = option(
        default="moderate", help="of the hyperparameters", choices=hyperpriors.NAMES
    )
    kept: int = option(
        default=64, help="draws that predict, spread evenly over all", low=1, high=100_000
    )
    warp: bool = option(default=False, help="draw a warp of each parameter that is no choice, too")


class Problem:
    """The density of the hyperparameters for some data.

    Args:
        train_X, train_Y, train_Yvar, inputs: see `surrogates.contract.Fit`.
        options: of the model.
        generator: of every random number; None is a generator of seed 0.
    """

    def __init__(
        self,
        train_X: Tensor,
        train_Y: Tensor,
        train_Yvar: Tensor | None,
        inputs: Inputs,
        options: Options,
        generator: Generator | None,
    ) -> None:
        self.began = time.perf_counter()
        check_data(train_X, train_Y, train_Yvar, inputs=inputs, outputs=1)
        self.generator = generator or Generator(device="cpu").manual_seed(0)
        y = train_Y[:, 0]
        self.centre = float(y.mean())
        spread = float(y.std()) if len(y) > 1 else 0.0
        self.unit = spread if spread >= least_spread(train_Y) else 1.0
        warped = inputs.numeric if options.warp else ()
        plain = options.kernel.strip() in kernels.PLAIN and not warped
        self.data = Data(
            X=train_X,
            y=(y - self.centre) / self.unit,
            groups=inputs.groups,
            matern=options.kernel.strip() == "matern52",
            noise=None if train_Yvar is None else train_Yvar[:, 0] / self.unit**2 + 1e-6,
            kernel=None if plain else kernels.kernel(options.kernel, inputs),
            warped=warped,
            least_noise_var=hyperpriors.least_noise_var(options.prior),
        )
        self.prior = _prior(options.prior, self.data)
        # In double precision whatever the data are: a factorisation in float32 soon fails.
        self.exact = dataclasses.replace(
            self.data,
            X=train_X.double(),
            y=self.data.y.double(),
            noise=None if self.data.noise is None else self.data.noise.double(),
        )
        self.density = Hyperposterior(self.exact, self.prior)
        self.options = options

    def searches(self, warm_start: State | None = None, count: int = _SEARCHES) -> Tensor:
        """(n, dim) where to look for modes: draws of the prior; the `mode` of an earlier fit.

        Two of the draws give way to points that explain the outcomes by noise and by the function
        alone (Rasmussen & Williams 2006, section 5.4.1): where rows are repeated, nearly all the
        mass may be at a mode of the latter kind that few draws of the prior lead to. Of a kernel
        that is a sum of products: common values too, each with periods of its own.
        """
        flat = self.options.prior == hyperpriors.FLAT
        prior = _prior("moderate", self.data) if flat else self.prior
        first = prior.sample(count, self.generator, self.exact.X).clamp(-5.0, 5.0)
        if self.exact.kernel is not None:
            first = torch.cat([first, self._common(self.exact.kernel)])
        elif self.exact.noise is None and count > 2:
            first[-2:, :-2], first[-2:, -2] = -1.0, 0.0
            first[-2, -1], first[-1, -1] = math.log(0.5), math.log(1e-4)
        told = self.carried(warm_start).get("mode", [])
        if len(told) != self.exact.dim:
            return first
        mode = torch.tensor([told], dtype=first.dtype, device=first.device)
        return torch.cat([mode, first])

    def carried(self, warm_start: State | None) -> State:
        """What an earlier fit left, if that had the same kernel, prior and groups of columns."""
        told = warm_start or {}
        return told if all(told.get(key) == value for key, value in self._named.items()) else {}

    @property
    def _named(self) -> dict[str, Any]:
        """What the density depends on beside the data, as a state names it."""
        data = self.exact
        plain = "matern52" if data.matern else "rbf"
        text = plain if data.kernel is None else data.kernel.text
        return {
            "kernel": text + " warped" * bool(data.warped),
            "prior": self.options.prior,
            "groups": list(data.groups),
            "least_noise_var": data.least_noise_var,
        }

    def _common(self, kernel: kernels.Kernel) -> Tensor:
        """(n, dim) length-scales of 1/2, equal variances, a noise of 1/100, no warp; periods."""
        data = self.exact
        start = torch.zeros(1, data.dim, dtype=data.X.dtype, device=data.X.device)
        for slot in kernel.slots:
            if slot.kind == "lengthscale":
                slot.of(start)[:] = -math.log(2.0)
            elif slot.kind == "signal_var":
                slot.of(start)[:] = -math.log(len(kernel.terms))
        if data.noise is None:
            start[:, data.noise_at] = -math.log(100.0)
        if not kernel.periods:
            return start
        count = max(kernel.cycles) + 1
        found = [peaks(data.X[:, kernel.cycles.index(c)], data.y, _PERIODS) for c in range(count)]
        starts = start.repeat(max(len(each) for each in found) or 1, 1)
        for cycle, told in enumerate(found):
            for row, period in enumerate(told):
                for slot in kernel.periods:
                    starts[row, slot.first + cycle] = math.log(period)
        return starts

    def chains(self, count: int, warm_start: State | None) -> tuple[hmc.State, bool]:
        """Where chains begin; and whether that is where the `chains` of an earlier fit ended.

        Else around some modes: draws of a mixture of Student t distributions, one at each mode and
        wider than the Laplace approximation there, resampled by importance half the way, so that
        they stay over-dispersed. That mixture is the chains' first proposal.
        """
        like, generator = self.exact.X, self.generator
        told = self.carried(warm_start).get("chains")
        if told and len(told["factor"]) == self.exact.dim and len(told["x"]) == count:
            return hmc.State.from_json(told, self.density, like), True
        starts = self.searches(count=_MANY_SEARCHES if self.density.fused else _SEARCHES)
        found = laplace.modes(self.density, starts, laplace.Options(), near=laplace.NEAR)
        wide = laplace.around(found)
        drawn = wide.sample(8 * count, generator)
        value, _ = self.density.value_and_grad(drawn)
        log_ratio = torch.nan_to_num(value - wide.log_density(drawn), nan=-torch.inf)
        start = drawn[systematic(torch.softmax(0.5 * log_ratio, dim=0), count, generator)]
        factor = max(found, key=lambda mode: mode.log_normaliser).factor
        return hmc.init(self.density, start, factor, wide), False

    def model(self, draws: Draws, state: Mapping[str, Any]) -> MixtureGP:
        """The mixture over draws, `kept` of them; those of weighted draws have weights.

        Args:
            draws: of the density.
            state: for the next `warm_start`.
        """
        flat = draws.x.flatten(0, 1).to(self.data.X)
        kept, log_weights = min(self.options.kept, len(flat)), None
        if draws.log_weights is None:
            # In the order of chains, so that an even spread takes as many of each.
            at = torch.linspace(0, len(flat) - 1, kept, dtype=torch.float64, device="cpu")
            place = at.round().to(dtype=torch.int64, device=flat.device)
        else:
            weights = draws.log_weights.flatten().exp()
            place, log_weights = lightened(weights, kept, self.generator)
            log_weights = log_weights.to(flat)
        model = MixtureGP(
            self.data,
            flat[place],
            centre=self.centre,
            unit=self.unit,
            log_weights=log_weights,
        )
        model.eval()
        model.state = {**state, **self._named}
        model.sampled = Sampled(draws, self.prior)
        model.diagnostics = {
            **draws.diagnostics,
            "kept": float(kept),
            "seconds": time.perf_counter() - self.began,
        }
        if self.data.noise is None:
            model.diagnostics["noise_var"] = float(model.weights @ model.noise_var)
        return model


def _prior(name: str, data: Data) -> hyperpriors.Prior:
    return hyperpriors.named(
        name, data.p, noise=data.noise is None, kernel=data.kernel, warped=len(data.warped)
    )
