"""Tests against PyTorch. Where it is not installed they are skipped, unless
TINYGRAD_LLM_REQUIRE_PARITY is set: then that is an error, so that CI can't pass without them."""

from __future__ import annotations

import importlib.util
import os

if os.environ.get("TINYGRAD_LLM_REQUIRE_PARITY") and not importlib.util.find_spec("torch"):
    raise RuntimeError(
        "TINYGRAD_LLM_REQUIRE_PARITY is set, but torch is not installed: pip install torch==2.13.0"
    )
