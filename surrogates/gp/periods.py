"""Where to begin the search for the periods of a kernel: the highest peaks of a periodogram.

Lomb (1976), "Least-Squares Frequency Analysis of Unequally Spaced Data": for each frequency, how
much of the sum of squares a cosine and a sine explain. Of each column by itself, once a parabola in
it has been taken off. The likelihood of a period has about as many modes as there are periods in
the data: a search from elsewhere ends in one of them.
"""

import math

import torch
from torch import Tensor

_OVERSAMPLED = 5  # frequencies per width of a peak
_MOST = 4000  # frequencies


def peaks(x: Tensor, y: Tensor, count: int) -> list[float]:
    """Periods of the highest peaks of y over x, both (n,), the highest first; `count` at most."""
    width = float(x.max() - x.min())
    n = len(x)
    if n < 5 or width <= 0.0:
        return []
    centred = (x - x.min()) / width
    trend = torch.stack([torch.ones_like(x), centred, centred.square()], dim=1)
    q, _ = torch.linalg.qr(trend)
    rest = y - q @ (q.T @ y)
    last = min(_OVERSAMPLED * n // 2, _MOST)
    turns = torch.arange(_OVERSAMPLED, last + 1, dtype=x.dtype, device=x.device) / _OVERSAMPLED
    angle = 2.0 * math.pi * turns[:, None] * centred
    cosine, sine = torch.cos(angle), torch.sin(angle)
    c, s = cosine @ rest, sine @ rest
    cc, ss, cs = cosine.square().sum(1), sine.square().sum(1), (cosine * sine).sum(1)
    power = (c.square() * ss + s.square() * cc - 2.0 * c * s * cs) / (cc * ss - cs.square())
    power = torch.where((cc * ss - cs.square()) > 1e-6 * n**2, power, 0.0)
    inner = power[1:-1]
    top = (inner > power[:-2]) & (inner >= power[2:])
    places = (torch.nonzero(top).flatten() + 1).tolist()
    places.sort(key=lambda place: -float(power[place]))
    return [width / float(turns[place]) for place in places[:count]]
