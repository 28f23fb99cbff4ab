"""The surrogates, one row each. Imports nothing.

A row is (name, "module:factory", kind, capabilities, help).
"""

SURROGATES: tuple[tuple[str, str, str, str, str], ...] = (
    (
        "gp-map",
        "surrogates.gp.map:fit",
        "surrogate",
        "joint gradients fantasies categorical paths",
        "Gaussian process, hyperparameters by maximum a posteriori, dimension-scaled priors",
    ),
    (
        "saas",
        "surrogates.gp.saas:fit",
        "surrogate",
        "joint gradients mixture",
        "Gaussian process with sparse priors, sampled by NUTS (BoTorch's; packages numpyro, jax)",
    ),
)
