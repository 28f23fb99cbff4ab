"""The surrogates, one row each. Imports nothing.

A row is (name, "module:factory", kind, capabilities, help).
"""

_MIXTURE = "joint gradients fantasies categorical paths mixture"

SURROGATES: tuple[tuple[str, str, str, str, str], ...] = (
    (
        "gp-map",
        "surrogates.gp.map:fit",
        "surrogate",
        "joint gradients fantasies categorical paths",
        "Gaussian process, hyperparameters by maximum a posteriori, dimension-scaled priors",
    ),
    (
        "gp-mode",
        "surrogates.gp.mode:fit",
        "surrogate",
        _MIXTURE,
        "Gaussian process, hyperparameters at the mode of their posterior or likelihood (ML-II)",
    ),
    (
        "gp-hmc",
        "surrogates.gp.hmc:fit",
        "surrogate",
        _MIXTURE,
        "Gaussian process, hyperparameters drawn by Hamiltonian Monte Carlo",
    ),
    (
        "gp-nuts",
        "surrogates.gp.nuts:fit",
        "surrogate",
        _MIXTURE,
        "Gaussian process, hyperparameters drawn by the No-U-Turn sampler",
    ),
    (
        "gp-smc",
        "surrogates.gp.smc:fit",
        "surrogate",
        _MIXTURE,
        "Gaussian process, hyperparameters as particles that each fit hands to the next",
    ),
    (
        "gp-laplace",
        "surrogates.gp.laplace:fit",
        "surrogate",
        _MIXTURE,
        "Gaussian process, hyperparameters by the Laplace approximation, weighted",
    ),
    (
        "gp-vi-meanfield",
        "surrogates.gp.vi_meanfield:fit",
        "surrogate",
        _MIXTURE,
        "Gaussian process, hyperparameters by variational inference, independent Gaussians",
    ),
    (
        "gp-vi-fullrank",
        "surrogates.gp.vi_fullrank:fit",
        "surrogate",
        _MIXTURE,
        "Gaussian process, hyperparameters by variational inference, a Gaussian",
    ),
    (
        "gp-vi-flow",
        "surrogates.gp.vi_flow:fit",
        "surrogate",
        _MIXTURE,
        "Gaussian process, hyperparameters by variational inference, a normalizing flow",
    ),
    (
        "gp-vi-bures",
        "surrogates.gp.vi_bures:fit",
        "surrogate",
        _MIXTURE,
        "Gaussian process, hyperparameters by variational inference in Bures-Wasserstein space",
    ),
    (
        "saas",
        "surrogates.gp.saas:fit",
        "surrogate",
        "joint gradients mixture",
        "Gaussian process with sparse priors, sampled by NUTS (BoTorch's; packages numpyro, jax)",
    ),
)
