"""Scaling laws: closed forms, sweeps of many runs, fits with intervals, pictures."""
