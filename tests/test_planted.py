"""Wrong gradients, planted on purpose: an op's own check has to see every named mistake.

The check is the one that test_ops.py runs, on the op's own row of cases.py, and it must not only
fail but fail clearly: the gradient is off by at least MARGIN times what the check allows, or the
engine refuses it because its shape is not the input's.
"""

from __future__ import annotations

import warnings

import pytest
from cases import CASES, Case
from checks import check_gradient
from hypothesis import Phase, given, settings

from tinygrad_llm.autograd.engine import OPS, Op
from tinygrad_llm.study import GradcheckError
from tinygrad_llm.study.mistakes import MISTAKES, Mistake

MARGIN = 100.0
EVERY = [m for mistakes in MISTAKES.values() for m in mistakes]


class Seen(BaseException):
    """The check failed as it should: no further example is needed."""


def clearly_seen(mistake: Mistake, n_examples: int = 200) -> str:
    """How the check saw the mistake: "value" or "shape"; "" if it did not."""
    planted = mistake.planted()
    outcomes = [in_row(c, planted, n_examples) for c in CASES if c.op is OPS[mistake.op]]
    return max(outcomes, key=["", "shape", "value"].index)


def in_row(case: Case, planted: type[Op], n_examples: int) -> str:
    seen = ""

    @settings(max_examples=n_examples, phases=[Phase.generate])
    @given(call=case.calls)
    def look(call):
        nonlocal seen
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            try:
                check_gradient(case, call, planted)
            except GradcheckError as error:
                if error.worst is not None and error.worst.excess >= MARGIN:
                    seen = "value"
                    raise Seen from None
            except (RuntimeError, ValueError, IndexError):
                seen = "shape"  # a value elsewhere would be more convincing: look on

    try:
        look()
    except Seen:
        pass
    return seen


@pytest.mark.parametrize("mistake", EVERY, ids=lambda m: f"{m.op}-{m.name}")
def test_the_check_sees(mistake):
    assert clearly_seen(mistake), f"the check of {mistake.op} lets {mistake.name!r} pass"


def test_the_true_backward_is_not_accused():
    """Planted the same way, the true backward passes: it is not the planting that is seen."""
    for name, cls in OPS.items():
        assert not clearly_seen(Mistake(name, "none", "", cls.backward), n_examples=5), name


def test_every_op_has_three_mistakes():
    assert set(MISTAKES) == set(OPS)
    assert {op: len(m) for op, m in MISTAKES.items() if len(m) < 3} == {}
    assert len(EVERY) == len({(m.op, m.name) for m in EVERY})


def test_every_mistake_is_explained():
    """One sentence or two, that say more than the name."""
    for m in EVERY:
        assert m.sentence.rstrip(")").endswith("."), (m.op, m.name)
        assert len(m.sentence.split()) >= 6, (m.op, m.name)
        assert m.sentence.count(". ") <= 2, (m.op, m.name)


def test_planting_leaves_the_op_alone():
    before = {name: (cls, cls.forward, cls.backward) for name, cls in OPS.items()}
    for mistake in EVERY:
        mistake.planted()
    assert {name: (cls, cls.forward, cls.backward) for name, cls in OPS.items()} == before
