"""Beliefs p(f | data): models that map observed inputs and outcomes to a posterior.

The lowest layer: it imports neither `bo`, `rl`, `apps` nor `dashboards`. Its light modules
(`errors`, `options`, `registry`, `inputs`, `catalog`) never load torch, so the layers above may
use them in a process that only reads.
"""
