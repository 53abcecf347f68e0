"""The place of a tensor in the graph and in memory, as PyTorch's attributes show it."""

from __future__ import annotations

import pytest

import tinygrad_llm

torch = pytest.importorskip("torch")
LIBRARIES = [tinygrad_llm, torch]


def leaves(y):
    """The leaves as tools that draw graphs visit them, starting at the output."""
    variables, seen, to_see = [], set(), [y.grad_fn]
    while to_see:
        step = to_see.pop()
        if step is None or step in seen:
            continue
        seen.add(step)
        if hasattr(step, "variable"):
            variables.append(step.variable)
        to_see += [before for before, _ in step.next_functions]
    return variables


@pytest.mark.parametrize("lib", LIBRARIES)
def test_a_walk_finds_the_parameters_of_a_model(lib):
    model = lib.nn.Sequential(
        lib.nn.Linear(3, 4), lib.nn.GELU(), lib.nn.LayerNorm(4), lib.nn.Linear(4, 2, bias=False)
    )
    loss = lib.nn.functional.cross_entropy(model(lib.ones(5, 3)), lib.tensor([0, 1, 0, 1, 0]))
    expected = {id(p) for p in model.parameters()}
    assert {id(p) for p in leaves(loss)} == expected
    assert len(leaves(loss)) == len(expected)  # each of them once
    loss.backward()
    assert {id(p) for p in leaves(loss)} == expected


def test_next_functions_say_which_output_and_what_gets_no_gradient():
    shapes = []
    for lib in LIBRARIES:
        x = lib.ones(4, 3, requires_grad=True)
        first, second = x.split(2)
        y = second * 2 + first.detach()
        (product, i), (nothing, j) = y.grad_fn.next_functions
        (split, k), *_ = product.next_functions
        assert nothing is None and x.grad_fn is None
        ((leaf, n),) = split.next_functions
        assert leaf.variable is x and leaf.next_functions == ()
        shapes.append((i, j, k, n, repr(leaf)[:15]))
    assert shapes[0] == shapes[1] == (0, 0, 1, 0, "<AccumulateGrad")


@pytest.mark.parametrize(
    "view",
    [
        "x", "x[1:]", "x[1, 2:]", "x.t()", "x.select(1, 2)", "x[:, 1]", "x.expand(2, 3, 4)",
        "x.reshape(-1)[5:]", "x[3:]", "x.clone()[1:]", "x.double()[2:]", "x[1:].detach()",
    ],
)  # fmt: skip
def test_storage(view):
    storages = []
    for lib in LIBRARIES:
        x = lib.arange(12.0).reshape(3, 4)
        y = eval(view)
        storage = y.untyped_storage()
        shared = storage.data_ptr() == x.untyped_storage().data_ptr()
        ahead = y.data_ptr() - storage.data_ptr() if y.numel() else 0
        storages.append((y.storage_offset() if y.numel() else 0, ahead, shared, storage.nbytes()))
        assert storage.size() == len(storage) == storage.nbytes()
        assert f"of size {storage.nbytes()}]" in repr(storage) and storage.device == y.device
    assert storages[0] == storages[1]
