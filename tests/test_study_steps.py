"""What is stepped through moment by moment: collectives on ranks, and what caches store."""

from __future__ import annotations

import numpy as np
import pytest

from tinygrad_llm import study
from tinygrad_llm.cli import main
from tinygrad_llm.layers.cache import RecurrentCache
from tinygrad_llm.study.check.collectives import COLLECTIVES, run
from tinygrad_llm.study.explain.cache_steps import MEMORIES, memory_steps
from tinygrad_llm.study.explain.diagrams import drawing_of
from tinygrad_llm.study.explain.names import catalogue, lookup
from tinygrad_llm.study.explain.scene import drawn_example
from tinygrad_llm.tensor import wrap


@pytest.mark.slow
@pytest.mark.parametrize("family", list(catalogue()))
def test_every_page_that_explains_can_be_stepped_through(family):
    for name, _ in catalogue()[family]:
        drawing = drawing_of(study.explain(name).data, lookup(name))
        assert drawing is not None and len(drawing.steps) >= 1, name


@pytest.mark.parametrize(
    "name", [*COLLECTIVES, *(kind.__name__ for kind in MEMORIES), "Identity", "AdamW", "StepLR"]
)
def test_what_is_no_graph_of_ops_has_steps_too(name):
    drawing = drawn_example(name)
    assert len(drawing.steps) >= 2
    page = drawing.html()
    assert "https:" not in page and name in page and "<button" in page


def held(moment, place, word):
    """The array at a place whose caption begins with a word."""
    (one,) = [h for h in moment.places[place] if h.caption.startswith(word)]
    return one


@pytest.mark.parametrize("name", COLLECTIVES)
def test_every_rank_has_the_numbers_of_the_collective(name):
    collective = COLLECTIVES[name]
    ran = run(collective, collective.inputs())
    replay = drawn_example(name)
    assert [m.phase for m in replay.steps] == [*["forward"] * 3, *["backward"] * 3, "check"]
    last = replay.steps[-1]
    for rank in range(2):
        for word, arrays in (("x", collective.inputs()), ("y ", ran.outputs),
                             ("g ", ran.upstream), ("∂L/∂x of", ran.gradients)):  # fmt: skip
            np.testing.assert_array_equal(held(last, f"rank {rank}", word).array, arrays[rank])
        if name == "ring_attention":
            words = ["query 0", "query 1", "key 0", "key 1", "value 0", "value 1"]
            assert list(held(last, f"rank {rank}", "x").rows) == words
        new = [h.caption for h in last.places[f"rank {rank}"] if h.new]
        assert new == ["∂L/∂x by the slow twin"]
    for moment, way in ((replay.steps[1], ran.forward), (replay.steps[4], ran.backward)):
        pairs = {(f"rank {e.rank}", f"rank {to}") for of in way for e in of for to in e.sent()}
        assert {(a, b) for a, b, _ in moment.sent} == pairs
        assert ("Nothing has to be sent" in moment.plain) == (not pairs)


@pytest.mark.parametrize("name", COLLECTIVES)
def test_the_colours_are_those_of_the_ranks_that_an_element_depends_on(name):
    """By the slow twin: ∂y/∂x of every element, on a graph of one process."""
    collective = COLLECTIVES[name]
    after = drawn_example(name).steps[2]
    xs = [wrap(x.copy()).requires_grad_() for x in collective.inputs()]
    for rank, y in enumerate(collective.twin(xs)):
        shown = held(after, f"rank {rank}", "y").origins  # (ranks, ...)
        if collective.same_input and name != "own_part_of":
            assert (
                shown[rank].all() and not shown[1 - rank].any()
            )  # its own x, equal to the other's
            continue
        for i in range(y.numel()):
            for x in xs:
                x.grad = None
            y.reshape(-1)[i].backward(retain_graph=True)
            expected = [x.grad is not None and bool(np.abs(x.grad.array).max() > 1e-12) for x in xs]
            if name == "own_part_of":  # the twin gives every rank rank 0's x, which all have
                expected = [r == rank for r in range(2)]
            assert shown.reshape(2, -1)[:, i].tolist() == expected, (rank, i)


def test_the_sentence_adds_up_what_the_ranks_bring():
    steps = drawn_example("all_reduce").steps
    assert (
        "The last number of y on rank 0: 3 from rank 0 and 13 from rank 1 give 16."
        in steps[2].plain
    )
    assert "2 from rank 0 and 1.5 from rank 1 give 3.5." in steps[5].plain
    assert (
        "The last number of y on rank 1: 3 from rank 0."
        in drawn_example("broadcast").steps[2].plain
    )
    assert "last number" not in drawn_example("ring_attention").steps[2].plain  # no sum of shares


@pytest.mark.parametrize(
    ("name", "kept", "window"), [("AttentionCache", 0, 3), ("StreamingCache", 1, 2)]
)
def test_a_cache_with_a_window_shows_what_the_token_sees(name, kept, window):
    appended = [m for m in drawn_example(name).steps if m.phase == "append"]
    assert len(appended) == 5
    for t, moment in enumerate(appended):
        tokens = [s for s in range(t + 1) if s < kept or s > t - window]
        keys = held(moment, "comes back: what it sees", "keys")
        assert list(keys.rows) == [f"token {s}" for s in tokens]
        expected = np.array([[s + 0.1, s + 0.2] for s in tokens])
        np.testing.assert_allclose(keys.array[0, 0], expected, atol=1e-9)
        values = held(moment, "comes back: what it sees", "values")
        np.testing.assert_allclose(values.array, -keys.array)
        assert held(moment, "the new token", "keys").rows == [f"token {t}"]


def test_rows_are_named_and_beams_copied():
    replay = memory_steps(lookup("Cache"))
    before, after = replay.steps[-2:]
    for layer in range(2):
        old, new = (held(m, f"layer {layer}", "keys") for m in (before, after))
        np.testing.assert_array_equal(new.array, old.array[[1, 1]])
        assert list(new.rows) == ["text 0, token 0", "text 0, token 1", "text 1, token 0",
                                  "text 1, token 1"]  # fmt: skip
    for kind in MEMORIES:
        for moment in memory_steps(kind).steps:
            for every in moment.places.values():
                for one in every:
                    rows = int(np.prod(np.shape(one.array)[:-1]))
                    assert not one.rows or len(one.rows) == rows, (kind, moment.title, one.caption)


def test_a_recurrent_memory_goes_back_within_the_last_call():
    steps = memory_steps(RecurrentCache).steps
    memory = [held(m, "in memory", "memory").array for m in steps]
    assert [m.shape for m in memory] == [(1, 1, 2, 2)] * 4  # it does not grow
    from tinygrad_llm.ops import delta_rule

    given = [held(m, "the new token", "key, and query").array for m in steps[:2]]
    values = [held(m, "the new token", "value").array for m in steps[:2]]
    g, beta = np.full((1, 1), -0.5), np.full((1, 1), 0.5)
    state = np.zeros((1, 1, 2, 2))
    for k, v, expected in zip(given, values, memory, strict=False):
        _, state = delta_rule.step(k[:, :, 0], k[:, :, 0], v[:, :, 0], g, beta, state)
        np.testing.assert_allclose(expected, state)
    last = steps[2].places["the new tokens"]
    k, v = (h.array[:, :, 0] for h in last)
    _, state = delta_rule.step(k, k, v, g, beta, state)
    np.testing.assert_allclose(memory[3], state)
    assert not np.allclose(memory[2], memory[3])


def test_codes_times_their_scale_are_close_to_the_table():
    table, *looked_up = memory_steps(lookup("QuantizedEmbedding")).steps
    weight = held(table, "float32, before", "weight").array
    for moment in looked_up:
        codes, scales = (h.array for h in moment.places["stored"])
        y = held(moment, "comes back", "y").array
        np.testing.assert_allclose(y, codes * scales, rtol=1e-6)
        i = int(moment.title.removeprefix("Token id "))
        assert np.abs(y - weight[i]).max() <= scales.max() * 0.51


def test_the_command_writes_the_page(tmp_path, capsys):
    with pytest.raises(SystemExit, match="0"):
        main(["draw", "all_gather", "--out", str(tmp_path / "gather")])
    assert "all_gather on 2 ranks" in (tmp_path / "gather.html").read_text("utf-8")
    assert "wrote" in capsys.readouterr().out
    with pytest.raises(ValueError, match=r"written as \.html, not \.svg"):
        drawn_example("LatentCache").save(tmp_path / "x.svg")
