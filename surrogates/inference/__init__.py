"""Inference for any density: samplers, variational families, and whether to trust what they say."""
