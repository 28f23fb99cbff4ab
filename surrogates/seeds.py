"""Seeds for separate uses from one seed: same seed and use, same draws; other use, other draws."""

import hashlib


def derive_seed(seed: int, *use: object) -> int:
    """A seed of 63 bits for one use, from a seed and words that name the use (SHA-256)."""
    text = "/".join(str(part) for part in (seed, *use))
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big") >> 1
