"""Hyperposterior, its chains and the mixture of them on CUDA, beside one thread of the CPU.

The data are n Sobol points of Hartmann6 and their standardised values, the prior is the
dimension-scaled one. Densities and predictions are compared with the CPU's compiled kernel at the
same points; the peer is that kernel, one thread of it. Needs a CUDA device.
"""

import statistics
import time
from collections.abc import Callable, Mapping
from typing import Any

import torch
from botorch.test_functions import Hartmann
from torch import Generator, Tensor
from torch.quasirandom import SobolEngine

from benchmarks.harness import Claim, Peer, Report, say
from surrogates.errors import NotInstalledError
from surrogates.gp import hyperpriors
from surrogates.gp.hyperposterior import Data, Hyperposterior
from surrogates.gp.mixture import MixtureGP
from surrogates.inference import hmc, laplace

D = 6
REPEATS = 5
CLOSE = 1e-6
TRAJECTORIES = 8
_SEARCH = laplace.Options()


def run(*, quick: bool) -> Report:
    """Measure everything (see `benchmarks.harness`).

    Raises:
        NotInstalledError: no CUDA device.
    """
    if not torch.cuda.is_available():
        raise NotInstalledError("expected a CUDA device, got none; run it where there is one")
    torch.set_num_threads(1)
    samples: list[Mapping[str, Any]] = []
    claims: list[Claim] = []
    for n in (20, 200) if quick else (20, 50, 100, 200):
        for chains in (32, 1024) if quick else (32, 256, 2048, 8192):
            say(f"density, n = {n}, {chains} chains")
            told = _density(n, chains)
            samples.append(told)
            claims += [
                Claim(
                    f"density n={n} {chains} chains, microseconds a chain",
                    statistics.median(told["cuda"]),
                    statistics.median(told["cpu"]),
                    None,
                    "us",
                ),
                Claim(
                    f"density n={n} {chains} chains, difference of values and gradients",
                    told["difference"],
                    None,
                    CLOSE,
                    "relative",
                ),
            ]
        say(f"predictions, n = {n}")
        off = _predictions(n)
        samples.append(off)
        name = f"predictions n={n}, difference of means and variances"
        claims.append(Claim(name, off["difference"], None, CLOSE, "relative"))
    for n, chains in ((200, 1024),) if quick else ((50, 4096), (200, 4096)):
        say(f"chains, n = {n}, {chains} of them")
        told = _chains(n, chains)
        samples.append(told)
        name = f"HMC n={n} {chains} chains, microseconds a gradient of a chain"
        each = 1e6 * told["seconds"] / told["gradients"] / chains
        claims.append(Claim(name, each, None, None, "us"))
    peer = Peer(
        "CPU kernel",
        torch.__version__,
        {"device": torch.cuda.get_device_name(), "dtype": "float64", "repeats": REPEATS},
    )
    return Report("cuda", peer, claims, samples)


def _data(n: int, device: str) -> Data:
    X = SobolEngine(D, scramble=True, seed=0).draw(n, dtype=torch.float64)
    y = Hartmann(D)(X)
    y = (y - y.mean()) / y.std()
    return Data(X.to(device), y.to(device), tuple(range(D)), matern=True)


def _density(n: int, chains: int) -> dict[str, Any]:
    prior = hyperpriors.named("dimension-scaled", D, noise=True)
    at = prior.sample(chains, Generator(device="cpu").manual_seed(1), _data(2, "cpu").X)
    here, there = (Hyperposterior(_data(n, device), prior) for device in ("cpu", "cuda"))
    far = at.cuda()
    value, slope = here.value_and_grad(at)
    others = [told.cpu() for told in there.value_and_grad(far)]
    off = max(
        float(((value - others[0]) / (1.0 + value.abs())).abs().max()),
        float(((slope - others[1]) / (1.0 + slope.abs().amax(1, keepdim=True))).abs().max()),
    )
    few = at[: max(1, min(chains, 200_000 // n**2))]
    return {
        "n": n,
        "chains": chains,
        "difference": off,
        "cuda": _times(lambda: there.value_and_grad(far), chains),
        "cpu": _times(lambda: here.value_and_grad(few), len(few)),
    }


def _times(call: Callable[[], Any], chains: int) -> list[float]:
    """Microseconds a chain."""
    told: list[float] = []
    for _ in range(REPEATS + 1):
        torch.cuda.synchronize()
        began = time.perf_counter()
        call()
        torch.cuda.synchronize()
        told.append(1e6 * (time.perf_counter() - began) / chains)
    return told[1:]


def _predictions(n: int) -> dict[str, Any]:
    prior = hyperpriors.named("dimension-scaled", D, noise=True)
    draws = prior.sample(64, Generator(device="cpu").manual_seed(2), _data(2, "cpu").X)
    X = SobolEngine(D, scramble=True, seed=3).draw(256, dtype=torch.float64).unsqueeze(1)

    def moments(device: str) -> Tensor:
        model = MixtureGP(_data(n, device), draws.to(device), centre=0.0, unit=1.0)
        told = model.posterior(X.to(device))
        return torch.cat([told.mean, told.variance]).cpu()

    here, there = moments("cpu"), moments("cuda")
    return {"n": n, "difference": float(((here - there) / (1.0 + here.abs())).abs().max())}


def _chains(n: int, chains: int) -> dict[str, Any]:
    prior = hyperpriors.named("dimension-scaled", D, noise=True)
    data = _data(n, "cuda")
    generator = Generator(device="cuda").manual_seed(4)
    density = Hyperposterior(data, prior)
    around = laplace.init(density, torch.zeros_like(prior.sample(1, generator, data.X)), _SEARCH)
    start = around.mode + prior.sample(chains, generator, data.X) @ around.factor.T * 0.1
    state = hmc.init(density, start, around.factor)
    options = hmc.Options(trajectory=2.0)
    gradients = 0
    torch.cuda.synchronize()
    began = time.perf_counter()
    for _ in range(TRAJECTORIES):
        state, moved = hmc.step(density, state, options, generator)
        gradients += moved.steps
    torch.cuda.synchronize()
    seconds = time.perf_counter() - began
    return {"n": n, "chains": chains, "seconds": seconds, "gradients": gradients}
