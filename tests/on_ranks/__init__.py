"""Checks that run in several processes: `mpiexec -n 2 python -m on_ranks NAME ...` runs them."""
