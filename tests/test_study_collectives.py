"""Collectives explained on ranks that are threads: finite differences, slow twins, mistakes."""

from __future__ import annotations

import json
import sys

import numpy as np
import pytest

import tinygrad_llm.distributed as dist
from tinygrad_llm import study
from tinygrad_llm.autograd.engine import Op
from tinygrad_llm.cli import main
from tinygrad_llm.distributed.nn import functional
from tinygrad_llm.distributed.nn.ring_attention import RingAttention
from tinygrad_llm.distributed.threads import on_threads
from tinygrad_llm.distributed.traffic import watching
from tinygrad_llm.study.check.collectives import COLLECTIVES, differences, run, slow
from tinygrad_llm.study.mistakes.collectives import COLLECTIVE_MISTAKES

NAMES = sorted(COLLECTIVES)


def test_every_collective_with_a_gradient_is_explained():
    ops = set()
    for module in (functional, sys.modules[RingAttention.__module__]):
        kinds = [kind for kind in vars(module).values() if isinstance(kind, type)]
        ops |= {k for k in kinds if issubclass(k, Op) and k.__module__ == module.__name__}
    assert {each.op for each in COLLECTIVES.values()} == ops
    assert set(COLLECTIVE_MISTAKES) == set(COLLECTIVES)
    assert all(callable(getattr(dist.nn, name)) for name in COLLECTIVES)


@pytest.mark.parametrize("ranks", [1, 2, 3])
@pytest.mark.parametrize("name", NAMES)
def test_backward_against_finite_differences_and_the_slow_twin(name, ranks):
    collective = COLLECTIVES[name]
    assert max(differences(collective, ranks=ranks)) < 1e-7
    rng = np.random.default_rng(0)
    xs = [rng.normal(size=x.shape) for x in collective.inputs(ranks)]
    xs = [xs[0]] * ranks if collective.same_input else xs
    ys = run(collective, xs).outputs
    gs = [rng.normal(size=y.shape) for y in ys]
    gs = [gs[0]] * ranks if collective.same_output else gs
    ran = run(collective, xs, gs)
    outputs, gradients = slow(collective, xs, gs)
    for ours, theirs in zip([*ran.outputs, *ran.gradients], [*outputs, *gradients], strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-14, atol=1e-14)


@pytest.mark.parametrize("name", NAMES)
def test_each_planted_mistake_is_noticed(name):
    mistakes = COLLECTIVE_MISTAKES[name]
    assert len(mistakes) >= 3 and len({m.sentence for m in mistakes}) == len(mistakes)
    for mistake in mistakes:
        assert max(differences(COLLECTIVES[name], mistake.backward)) > 0.1, mistake.name


@pytest.mark.parametrize("name", NAMES)
def test_the_page(name, tmp_path):
    explanation = study.explain(name)
    data, text = explanation.data, explanation.text(100)
    assert data["kind"] == "collective" and data["twin"]["difference"] < 1e-12
    assert explanation.right and len(data["check"]) == 2
    assert "def backward(self" in text and "rank 1" in text
    for mistake in COLLECTIVE_MISTAKES[name]:
        assert mistake.name in text
    json.dumps(explanation.as_dict())
    assert "finite differences" in explanation.html(tmp_path / "page.html")


def test_the_command_and_other_names(capsys):
    with pytest.raises(SystemExit, match="0"):
        main(["study", "all_gather"])
    shown = capsys.readouterr().out
    assert "a reduce-scatter" in shown and "a worked example of 2 ranks" in shown.lower()
    assert study.explain("AllToAll").data["name"] == "all_to_all_single"
    assert study.explain("distributed.nn.broadcast").data["name"] == "broadcast"
    with pytest.raises(SystemExit, match="0"):
        main(["study"])
    assert "own_part_of" in capsys.readouterr().out


def test_bytes_and_the_agreement():
    exchanges = []
    collective = COLLECTIVES["all_gather"]
    with watching(exchanges.append):
        run(collective, collective.inputs(3))
    forward = [e for e in exchanges if "gathered" in e.what]
    assert sorted(e.rank for e in forward) == [0, 1, 2]
    for e in forward:
        others = {0, 1, 2} - {e.rank}
        assert e.sent() == dict.fromkeys(others, 16) and e.bytes == 32  # two numbers to each
        assert e.sent(agreement=True) == dict.fromkeys(others, 16 + 128)
        assert e.ended >= e.began and e.blocked > 0 and e.name == "gathered"


def test_ranks_that_do_different_things_get_the_error_of_processes():
    def different(group):
        kind = functional.AllReduce() if group.rank() else functional.CopyToRanks()
        y = kind.forward(np.ones(2), group=group)
        return (
            functional.AllReduce().forward(np.ones(3 + group.rank()), group=group) if y.size else y
        )

    with pytest.raises(Exception, match="different collectives|has ended"):
        on_threads(2, different)
    with pytest.raises(ValueError, match="at least 1 rank, got 0"):
        on_threads(0, different)
