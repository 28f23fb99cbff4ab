"""Whether draws of Markov chains, weights and variational fits can be trusted.

Vehtari, Gelman, Simpson, Carpenter & Bürkner (2021), "Rank-Normalization, Folding, and
Localization: An Improved R-hat for Assessing Convergence of MCMC": R-hat (equations 1-6, 13-14) and
effective sample sizes (7-11). Margossian et al. (2024), "Nested R-hat: Assessing the Convergence of
Markov Chain Monte Carlo When Running Many Short Chains". Betancourt (2016), "Diagnosing Suboptimal
Cotangent Disintegrations in Hamiltonian Monte Carlo": E-BFMI. Vehtari, Simpson, Gelman, Yao & Gabry
(2024), "Pareto Smoothed Importance Sampling": k-hat, with the generalised Pareto fit of Zhang &
Stephens (2009).

Draws are (chains, draws, ...): every quantity behind the second dimension is judged by itself.
"""

import math

import torch
from torch import Tensor

GOOD_RHAT = 1.01
LEAST_KHAT_TAIL = 5


def rhat(draws: Tensor) -> Tensor:
    """Rank-normalised split R-hat, the larger of the bulk's and the tails' (folded).

    Args:
        draws: (chains, draws, ...), at least 4 draws a chain.

    Returns:
        (...): about 1 where the chains agree; NaN where a value is not finite or none varies.
    """
    halves = _split(draws)
    folded = (halves - _median(halves)).abs()
    told = torch.maximum(_rhat(_normal_scores(halves)), _rhat(_normal_scores(folded)))
    return _defined(told, halves)


def nested_rhat(draws: Tensor, superchains: int) -> Tensor:
    """R-hat of many short chains: those that began at one point are one superchain.

    Args:
        draws: (chains, draws, ...): `chains` in groups of equal size, one superchain after the
            other.
        superchains: how many.

    Returns:
        (...), at least 1.

    Raises:
        ValueError: chains that do not divide into superchains, or fewer than two of these.
    """
    chains, n = draws.shape[:2]
    if superchains < 2 or chains % superchains:
        raise ValueError(
            f"expected at least 2 superchains that divide {chains} chains, got {superchains}"
        )
    grouped = draws.unflatten(0, (superchains, -1))
    within_chain = grouped.var(dim=2).mean(dim=1) if n > 1 else torch.zeros_like(grouped[:, 0, 0])
    means = grouped.mean(dim=2)
    size = means.shape[1]
    between_chains = means.var(dim=1) if size > 1 else torch.zeros_like(within_chain)
    within = (within_chain + between_chains).mean(dim=0)
    between = means.mean(dim=1).var(dim=0)
    return _defined((1.0 + between / within).sqrt(), draws)


def ess_bulk(draws: Tensor) -> Tensor:
    """Effective sample size for the centre of the distribution: of rank-normalised split chains.

    Args:
        draws: (chains, draws, ...), at least 4 draws a chain.

    Returns:
        (...): how many independent draws would tell a mean as well; NaN as in `rhat`.
    """
    halves = _split(draws)
    return _defined(_ess(_normal_scores(halves)), halves)


def ess_tail(draws: Tensor) -> Tensor:
    """Effective sample size of the 5 % and 95 % quantiles, the smaller one (see `ess_bulk`)."""
    sizes: list[Tensor] = []
    for level in (0.05, 0.95):
        below = _split(draws <= _quantile(draws.flatten(0, 1), level)).to(draws)
        sizes.append(_defined(_ess(below), below))
    return _defined(torch.minimum(*sizes), draws)


def ess_mean(draws: Tensor) -> Tensor:
    """Effective sample size of the mean as it stands, without ranks (see `ess_bulk`)."""
    halves = _split(draws)
    return _defined(_ess(halves), halves)


def mcse_sd(draws: Tensor) -> Tensor:
    """Monte Carlo standard error of the standard deviation, as a share of it.

    Of the variance by the effective size of the squared offsets from the mean; half as much, as a
    share, for its root (the delta method). Heavy tails need many draws: where the kurtosis is 3
    some 200 effective ones for 0.05, where it is 13 some 1,200.

    Args:
        draws: (chains, draws, ...), at least 4 draws a chain.

    Returns:
        (...); NaN as in `rhat`.
    """
    squares = (draws - draws.mean(dim=(0, 1))).square()
    spread = squares.flatten(0, 1).std(dim=0) / squares.mean(dim=(0, 1))
    return 0.5 * spread / ess_mean(squares).sqrt()


def ebfmi(energies: Tensor) -> Tensor:
    """Energy Bayesian fraction of missing information of every chain; below 0.3 is a warning.

    Args:
        energies: (chains, draws) values of the Hamiltonian at the draws.

    Returns:
        (chains,).
    """
    steps = energies.diff(dim=1).square().mean(dim=1)
    return steps / energies.var(dim=1, correction=0)


def khat(log_ratios: Tensor) -> float:
    """The shape of the generalised Pareto distribution that fits the largest importance ratios.

    Below min(1 - 1/log10(S), 0.7) the weights can be trusted; above, a few of them say everything.

    Args:
        log_ratios: (S,) logarithms of target over proposal, up to a constant.

    Returns:
        The shape; infinite where the ratios are not all below infinity, or too few to tell; 0 where
        they are nearly equal.
    """
    return pareto_smoothed(log_ratios)[1]


def pareto_smoothed(log_ratios: Tensor) -> tuple[Tensor, float]:
    """Normalised log weights (S,) whose largest are those of a fitted tail, and its `khat`.

    Nearly equal weights have a `khat` of 0 and stay as they are: where they change no average by
    more than the Monte Carlo error of the draws (S times the variance of the weights, whose mean is
    1, is at most 1), the shape of their tail is that of noise.

    Args:
        log_ratios: (S,) logarithms of target over proposal, up to a constant.
    """
    size = log_ratios.numel()
    tail = math.ceil(min(0.2 * size, 3.0 * math.sqrt(size)))
    largest = log_ratios.max() if size else log_ratios.new_tensor(math.nan)
    if tail < LEAST_KHAT_TAIL or not bool(torch.isfinite(largest)):
        return log_ratios - torch.logsumexp(log_ratios, 0), math.inf
    normalised = log_ratios - torch.logsumexp(log_ratios, 0)
    if size * float((size * normalised.exp() - 1.0).square().mean()) <= 1.0:
        return normalised, 0.0
    log_weights = log_ratios - largest
    order = log_weights.argsort()
    cut = log_weights[order[size - tail - 1]].clamp_min(
        math.log(torch.finfo(log_weights.dtype).tiny)
    )
    top = order[size - tail :]
    exceedances = log_weights[top].exp() - cut.exp()
    shape, scale = _generalised_pareto(exceedances.clamp_min(0.0))
    if math.isfinite(shape):
        levels = (
            torch.arange(tail, dtype=log_weights.dtype, device=log_weights.device) + 0.5
        ) / tail
        if abs(shape) < 1e-12:
            quantiles = -scale * torch.log1p(-levels)
        else:
            quantiles = scale * torch.expm1(-shape * torch.log1p(-levels)) / shape
        smoothed = log_weights.clone()
        smoothed[top] = (quantiles + cut.exp()).log().clamp_max(0.0)
        log_weights = smoothed
    return log_weights - torch.logsumexp(log_weights, 0), shape


def good_khat(size: int) -> float:
    """Below which `khat` lets S importance ratios be trusted (Vehtari et al. 2024, section 3.2)."""
    return min(1.0 - 1.0 / math.log10(size), 0.7)


def _generalised_pareto(exceedances: Tensor) -> tuple[float, float]:
    """Shape and scale by the quasi-Bayesian estimate of Zhang & Stephens (2009).

    With the weak prior of Vehtari et al. (2024, appendix C), which is worth ten draws at 0.5.
    """
    x = exceedances.sort().values
    n = len(x)
    greatest, quarter = float(x[-1]), float(x[int(n / 4 + 0.5) - 1])
    if not greatest > 0.0 or not quarter > 0.0:
        return math.inf, math.nan
    count = 30 + int(math.sqrt(n))
    steps = torch.arange(1, count + 1, dtype=x.dtype, device=x.device)
    b = 1.0 / greatest + (1.0 - (count / (steps - 0.5)).sqrt()) / (3.0 * quarter)
    k = torch.log1p(-b[:, None] * x).mean(dim=1)
    log_likelihood = n * ((-b / k).log() - k - 1.0)
    weights = torch.softmax(log_likelihood, 0)
    mean_b = float((b * weights).sum())
    shape = float(torch.log1p(-mean_b * x).mean())
    scale = -shape / mean_b
    return (shape * n + 5.0) / (n + 10.0), scale


def _split(draws: Tensor) -> Tensor:
    """Every chain as two, first and last half; a middle draw of an odd number is left out."""
    half = draws.shape[1] // 2
    return torch.cat([draws[:, :half], draws[:, draws.shape[1] - half :]])


def _median(draws: Tensor) -> Tensor:
    return _quantile(draws.flatten(0, 1), 0.5)


def _quantile(flat: Tensor, level: float) -> Tensor:
    """Linear between order statistics, for any number of draws (torch.quantile has a limit)."""
    ordered = flat.sort(dim=0).values
    place = level * (len(flat) - 1)
    low = math.floor(place)
    high = min(low + 1, len(flat) - 1)
    return ordered[low] + (place - low) * (ordered[high] - ordered[low])


def _normal_scores(draws: Tensor) -> Tensor:
    """Normal quantiles of the ranks among all chains; equal draws share their mean rank."""
    flat = draws.reshape(draws.shape[0] * draws.shape[1], -1).T.contiguous()  # (quantities, S)
    ordered = flat.sort(dim=1).values
    below = torch.searchsorted(ordered, flat, right=False)
    until = torch.searchsorted(ordered, flat, right=True)
    ranks = 0.5 * (below + until + 1).to(draws)
    scores = torch.special.ndtri((ranks - 0.375) / (flat.shape[1] + 0.25))
    return scores.T.reshape(draws.shape)


def _rhat(chains: Tensor) -> Tensor:
    n = chains.shape[1]
    within = chains.var(dim=1).mean(dim=0)
    between = chains.mean(dim=1).var(dim=0)
    return ((n - 1) / n + between / within).sqrt()


def _ess(chains: Tensor) -> Tensor:
    """From autocorrelations summed by Geyer's initial monotone positive sequence of pairs."""
    m, n = chains.shape[:2]
    mean = chains.mean(dim=1, keepdim=True)
    size = 2 ** math.ceil(math.log2(2 * n))
    spectrum = torch.fft.rfft(chains - mean, n=size, dim=1)
    power = spectrum.real.square() + spectrum.imag.square()
    covariance = (torch.fft.irfft(power, n=size, dim=1)[:, :n] / n).mean(dim=0)  # (n, ...)
    within = covariance[0] * n / (n - 1)
    total = covariance[0].clone()
    if m > 1:
        total = total + mean.squeeze(1).var(dim=0)
    correlation = 1.0 - (within - covariance) / total
    correlation[0] = 1.0
    even, odd = correlation[0::2], correlation[1::2]
    pairs = (even[: len(odd)] + odd)[: max((n - 3) // 2, 1)]
    going = (pairs > 0.0).cumprod(dim=0)  # until the first pair that is not positive
    monotone = pairs.cummin(dim=0).values
    # The first term that is left out still lowers the bias where it is positive.
    stop = going.sum(dim=0).clamp_max(len(even) - 1)
    next_even = even.gather(0, stop.unsqueeze(0)).squeeze(0).clamp_min(0.0)
    tau = -1.0 + 2.0 * (monotone * going).sum(dim=0) + next_even
    tau = tau.clamp_min(1.0 / math.log10(m * n))
    return m * n / tau


def _defined(told: Tensor, draws: Tensor) -> Tensor:
    """NaN where a draw is not finite, or all are equal."""
    flat = draws.flatten(0, 1)
    good = torch.isfinite(flat).all(dim=0) & (flat != flat[0]).any(dim=0)
    return torch.where(good, told, torch.full_like(told, math.nan))
