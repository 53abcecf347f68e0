"""Readers' programs, each run under PyTorch and under tinygrad_llm: every number must be the same.

A program is PyTorch code. It calls `record(name, tensor)` for numbers that must agree closely,
`exact(name, value)` for those that must be equal, and what it prints must be the same text, except
the last digits of numbers.
"""

from __future__ import annotations

import contextlib
import io
import re

import numpy as np
import pytest

from .chapter5 import program, with_our_import

torch = pytest.importorskip("torch")


def array(value) -> np.ndarray:
    if hasattr(value, "detach"):
        value = value.detach().numpy()
    return np.array(value)


def run(source: str, name: str) -> tuple[dict, dict, str]:
    close: dict[str, np.ndarray] = {}
    equal: dict[str, np.ndarray] = {}
    scope = {
        "__name__": name,
        "record": lambda key, value: close.__setitem__(f"{len(close)} {key}", array(value)),
        "exact": lambda key, value: equal.__setitem__(f"{len(equal)} {key}", array(value)),
    }
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed):
        exec(compile(source, name, "exec"), scope)
    return close, equal, printed.getvalue()


NUMBER = re.compile(r"-?\d+\.\d*(?:e[+-]?\d+)?")


@pytest.mark.parametrize(
    "name", ["attention", "gpt", "classifier", "lora", "training", "hooks", "names"]
)
def test_program_gives_the_same_numbers(name):
    source = program(name)
    close, equal, text = run(source, name)
    our_close, our_equal, our_text = run(with_our_import(source), f"{name} with our import")
    assert list(close) == list(our_close) and list(equal) == list(our_equal)
    assert len(close) >= 5
    for key, value in equal.items():
        assert value.dtype == our_equal[key].dtype, key
        np.testing.assert_array_equal(our_equal[key], value, err_msg=key)
    for key, value in close.items():
        assert value.dtype == our_close[key].dtype, key
        np.testing.assert_allclose(our_close[key], value, rtol=2e-4, atol=2e-5, err_msg=key)
    assert NUMBER.sub("#", our_text) == NUMBER.sub("#", text)
    ours, theirs = (list(map(float, NUMBER.findall(t))) for t in (our_text, text))
    np.testing.assert_allclose(ours, theirs, rtol=2e-3, atol=2e-4)
