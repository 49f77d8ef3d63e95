"""Whole clusters in one process under a seed; see `docs/simulation.md`."""
