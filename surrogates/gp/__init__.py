"""Gaussian processes, one inference method per file."""
