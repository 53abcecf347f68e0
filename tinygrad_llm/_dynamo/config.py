"""Options of PyTorch's compiler: they may be set and read, and change nothing here."""

from __future__ import annotations

cache_size_limit = 8
recompile_limit = 8
accumulated_cache_size_limit = 256
suppress_errors = False
verbose = False
disable = True  # nothing is compiled
optimize_ddp = False
capture_scalar_outputs = False
automatic_dynamic_shapes = True
assume_static_by_default = True
