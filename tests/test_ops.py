"""Every op of the table, against finite differences, its twin, and the rules of an op."""

from __future__ import annotations

import warnings

import pytest
from cases import CASES, Case
from checks import (
    LAYOUTS,
    check_aliases,
    check_device,
    check_dtype,
    check_gradient,
    check_layouts,
    check_memory_bill,
    check_needs,
    check_pure,
    check_values,
)
from hypothesis import given, settings
from hypothesis import strategies as st

from tinygrad_llm.arrays import attention_blocks, parallel

every_op = pytest.mark.parametrize("case", CASES, ids=lambda case: case.id)


@pytest.fixture(autouse=True)
def small_blocks(monkeypatch):
    """Work in blocks uses blocks of two rows, so that small inputs have several."""
    monkeypatch.setattr(attention_blocks, "BLOCK_ROWS", 2)
    monkeypatch.setattr(attention_blocks, "BLOCK_BYTES", 64)
    monkeypatch.setattr(parallel, "CACHE_BYTES", 32)
    monkeypatch.setattr(parallel, "MEMORY_BYTES", 64)
    monkeypatch.setattr(parallel, "BLOCK_BYTES", 64)


def run(check, case: Case, *more, share: float = 1.0) -> None:
    """Run the check on as many calls as the profile says, or a share of them."""

    @settings(max_examples=max(3, int(settings().max_examples * share)))
    @given(call=case.calls)
    def on(call):
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", "(Mean of empty|Degrees of freedom)")
            check(case, call, *more)

    on()


@every_op
def test_gradient(case):
    """Ten inputs; 200 in the long runs, as the values (test_gradient_of_many_more_inputs)."""
    run(check_gradient, case, share=0.5)


@every_op
def test_values(case):
    run(check_values, case, share=0.5)


@every_op
def test_float32_stays_float32(case):
    run(check_dtype, case, "float32", share=0.5)


@every_op
def test_float16_stays_float16(case):
    run(check_dtype, case, "float16", share=0.25)


@every_op
def test_nothing_is_mutated(case):
    run(check_pure, case, share=0.5)


@every_op
def test_results_share_no_memory(case):
    run(check_aliases, case, share=0.5)


@every_op
@pytest.mark.parametrize("layout", LAYOUTS)
def test_layouts(case, layout):
    run(check_layouts, case, layout, share=0.25)


@every_op
def test_gradients_do_not_depend_on_which_are_needed(case):
    run(check_needs, case, share=0.5)


@every_op
def test_saved_is_the_whole_memory_bill(case):
    run(check_memory_bill, case, share=0.25)


@every_op
def test_other_devices(case, other_device):
    run(check_device, case, other_device, share=0.5)


@pytest.mark.slow
@pytest.mark.ci
@every_op
def test_gradient_of_many_more_inputs(case):
    run(check_gradient, case, share=10.0)
    run(check_values, case, share=10.0)


@settings(max_examples=3)
@given(st.data())
def test_the_table_draws_what_it_says(data):
    """Every row can be drawn, and has an oracle or a twin."""
    for case in CASES:
        inputs, options = data.draw(case.calls)
        assert inputs and isinstance(options, dict)
        assert case.oracle is not None or case.twin is not None
