"""Bandit problems and environments, one file per family."""
