"""Acquisition functions and the search for their maximum."""
