"""utils.checkpoint: the same gradients to the last bit, less memory, and honest errors."""

from __future__ import annotations

import gc

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import tinygrad_llm as torch
from tinygrad_llm import nn
from tinygrad_llm.autograd.debug import lock_saved
from tinygrad_llm.models import GPT, GPTConfig
from tinygrad_llm.nn import functional as F
from tinygrad_llm.study.memory.kept import kept_arrays
from tinygrad_llm.study.trace.recording import trace
from tinygrad_llm.utils.checkpoint import CheckpointError, checkpoint, checkpoint_sequential

SHAPE = dict(vocab_size=31, context_length=12, emb_dim=16, n_heads=2, n_layers=3)


def gradients(model, idx, targets, on, steps=2):
    """Losses and all gradients of some accumulated steps from one seed."""
    model.gradient_checkpointing = on
    model.zero_grad()
    torch.manual_seed(7)
    losses = []
    for _ in range(steps):
        loss = model.loss(idx, targets)
        loss.backward()
        losses.append(loss.item())
    return losses, {n: p.grad.array.copy() for n, p in model.named_parameters()}


@settings(max_examples=15, deadline=None)
@given(
    st.integers(1, 3), st.integers(1, 12), st.integers(1, 4), st.sampled_from([0.0, 0.1, 0.5]),
    st.booleans(), st.booleans(), st.integers(0, 999),
)  # fmt: skip
def test_gpt_has_the_same_gradients_bit_for_bit(B, T, layers, drop, tied, bias, seed):
    torch.manual_seed(seed)
    model = GPT(GPTConfig(**{**SHAPE, "n_layers": layers}, drop_rate=drop, tie_weights=tied,
                          qkv_bias=bias))  # fmt: skip
    idx, targets = torch.randint(0, 31, (B, T)), torch.randint(0, 31, (B, T))
    losses, plain = gradients(model, idx, targets, False)
    state = torch.get_rng_state()
    losses_again, again = gradients(model, idx, targets, True)
    assert losses == losses_again
    assert torch.equal(state, torch.get_rng_state())  # and the stream continues at the same place
    for name in plain:
        assert np.array_equal(plain[name], again[name]), name


OPS = {
    "gelu": lambda x, w: F.gelu(x),
    "linear": lambda x, w: F.linear(x, w),
    "norm": lambda x, w: F.layer_norm(x, (4,)),
    "dropout": lambda x, w: F.dropout(x, 0.3),
    "twice": lambda x, w: x * x + x @ w,
    "softmax": lambda x, w: torch.softmax(x, -1),
    "in place": lambda x, w: x.clone().mul_(2.0).sigmoid_(),
    "inner": lambda x, w: checkpoint(lambda a: F.dropout(a @ w, 0.2).tanh(), x),
}


@settings(max_examples=40, deadline=None)
@given(st.lists(st.sampled_from(sorted(OPS)), min_size=1, max_size=7), st.integers(0, 999),
       st.sampled_from([None, True, False]))  # fmt: skip
def test_random_functions_have_the_same_gradients(names, seed, reentrant):
    rng = np.random.default_rng(seed)
    x, w = rng.standard_normal((3, 4)), rng.standard_normal((4, 4)) * 0.5
    upstream = torch.from_numpy(rng.standard_normal((3, 4)))

    def function(x, w):
        for name in names:
            x = OPS[name](x, w)
        return x

    def run(through):
        torch.manual_seed(seed)
        a, b = (torch.from_numpy(v.copy()).requires_grad_() for v in (x, w))
        y = through(a * 1.5, b)  # an input of the graph, and a leaf
        (y + a * 3.0 + b.sum()).backward(upstream)
        return y.array, a.grad.array, b.grad.array, torch.rand(3).array

    plain = run(function)
    again = run(lambda a, b: checkpoint(function, a, b, use_reentrant=reentrant))
    assert all(np.array_equal(p, q) for p, q in zip(plain, again, strict=True))


def test_only_parameters_want_gradients():
    layer = nn.Linear(4, 4)
    x = torch.ones(2, 4)
    layer(x).exp().sum().backward()
    plain = layer.weight.grad.array.copy()
    layer.zero_grad()
    checkpoint(lambda x: layer(x).exp(), x, use_reentrant=True).sum().backward()
    assert np.array_equal(layer.weight.grad.array, plain)


def test_nothing_is_kept_but_the_input():
    model = GPT(GPTConfig(**SHAPE, drop_rate=0.1))
    idx = torch.randint(0, 31, (2, 12))
    peaks = {}
    for on in (False, True):
        model.gradient_checkpointing = on
        with trace(model) as t:
            model.loss(idx, idx).backward()
        peaks[on] = t.peak
        model.zero_grad()
    assert peaks[True] < 0.62 * peaks[False], peaks


def test_what_was_saved_is_gone_until_backward():
    x = torch.ones(64, 4, requires_grad=True)
    y = checkpoint(lambda x: x.exp().sin(), x)
    op = y._op
    assert bool(op.saved)
    gc.collect()
    import weakref

    first = weakref.ref(next(iter(kept_arrays(op)))[1])  # looking at it runs it again
    assert first() is not None
    y.sum().backward()
    del op
    gc.collect()
    assert first() is None
    with pytest.raises(RuntimeError, match="second time"):
        y.sum().backward()


def test_retain_graph_and_grad():
    x = torch.ones(3, requires_grad=True)
    y = checkpoint(lambda x: (x * x).exp(), x).sum()
    y.backward(retain_graph=True)
    y.backward()
    assert np.allclose(x.grad.array, 2 * 2 * np.e)
    z = checkpoint(lambda x: (x * x).exp(), x).sum()
    (g,) = torch.autograd.grad(z, x)
    assert np.allclose(g.array, 2 * np.e)


def test_without_gradients_it_is_a_call():
    with torch.no_grad():
        y = checkpoint(lambda x, scale: x * scale, torch.ones(2), scale=3.0)
    assert y.tolist() == [3.0, 3.0] and not y.requires_grad


def test_keywords_tuples_and_contexts():
    entered = []

    class Note:
        def __init__(self, word):
            self.word = word

        def __enter__(self):
            entered.append(self.word)

        def __exit__(self, *error):
            return None

    x = torch.ones(2, requires_grad=True)
    a, b = checkpoint(
        lambda x, *, power: (x**power, x.exp()), x, power=3.0,
        context_fn=lambda: (Note("first"), Note("second")),
    )  # fmt: skip
    (a * b).sum().backward()
    assert entered == ["first", "second"] and np.allclose(x.grad.array, 4 * np.e)


def test_under_lock_saved():
    x = torch.ones(3, 4, requires_grad=True)
    with lock_saved():
        checkpoint(lambda x: F.layer_norm(x * 2, (4,)).exp(), x).sum().backward()
    assert x.grad is not None


def test_without_the_random_state_dropout_differs():
    x = torch.ones(400, requires_grad=True)
    y = checkpoint(lambda x: F.dropout(x, 0.5), x, preserve_rng_state=False)
    y.sum().backward()
    assert not np.array_equal(y.array, x.grad.array)


# ---------------------------------------------------------------------- checkpoint_sequential
@pytest.mark.parametrize("segments", [1, 2, 3, 5])
def test_sequential(segments):
    torch.manual_seed(0)
    net = nn.Sequential(*[m for _ in range(3) for m in (nn.Linear(4, 4), nn.GELU())][:5])
    x = torch.randn(3, 4, requires_grad=True)
    net(x).exp().sum().backward()
    plain = [p.grad.array.copy() for p in (*net.parameters(), x)]
    net.zero_grad()
    x.grad = None
    checkpoint_sequential(net, segments, x, use_reentrant=False).exp().sum().backward()
    for before, p in zip(plain, (*net.parameters(), x), strict=True):
        assert np.array_equal(before, p.grad.array)


# --------------------------------------------------------------------------------------- errors
@pytest.mark.parametrize("segments", [0, 3])
def test_sequential_wants_as_many_parts_as_layers(segments):
    with pytest.raises(ValueError, match="from 1 to 2"):
        checkpoint_sequential([torch.exp, torch.sin], segments, torch.ones(2))


def test_bad_arguments():
    with pytest.raises(TypeError, match="expected a function, got int"):
        checkpoint(3, torch.ones(2))
    with pytest.raises(ValueError, match="determinism_check"):
        checkpoint(torch.exp, torch.ones(2), determinism_check="always")


def test_a_function_that_does_other_things():
    calls = []

    def function(x):
        calls.append(1)
        return x.exp() if len(calls) == 1 else x.sin().exp()

    y = checkpoint(function, torch.ones(2, requires_grad=True))
    with pytest.raises(CheckpointError, match="first exp, then sin, exp"):
        y.sum().backward()


def test_a_function_that_gives_other_shapes():
    sizes = [2, 3]
    x = torch.ones(3, requires_grad=True)
    y = checkpoint(lambda x: x[: sizes.pop(0)].exp().sum(), x)
    with pytest.raises(CheckpointError, match="shapes"):
        y.backward()


@pytest.mark.parametrize("what", ["input", "parameter"])
def test_changes_in_between_are_refused(what):
    layer = nn.Linear(2, 2)
    leaf = torch.ones(2, 2, requires_grad=True)
    x = leaf * 1.0
    y = checkpoint(lambda x: layer(x).exp(), x)
    with torch.no_grad():
        (x if what == "input" else layer.weight).add_(1.0)
    with pytest.raises(RuntimeError, match="inplace operation"):
        y.sum().backward()


def test_an_error_in_the_function_leaves_nothing_behind():
    from tinygrad_llm.autograd.engine import observers

    before = list(observers)
    with pytest.raises(ZeroDivisionError):
        checkpoint(lambda x: 1 // 0, torch.ones(2, requires_grad=True))
    assert observers == before


def test_the_switch_of_a_model():
    model = GPT(GPTConfig(**SHAPE))
    model.gradient_checkpointing_enable()
    assert model.gradient_checkpointing
    model.gradient_checkpointing_disable()
    assert not model.gradient_checkpointing and "gradient_checkpointing" not in str(
        model.state_dict().keys()
    )


@pytest.mark.parametrize("index", [[2, 0, 2], ([1, 0], [2, 2]), (slice(None), [0, 0])], ids=str)
def test_arrays_of_an_index_are_computed_again(index):
    """Index and IndexPut keep their index's arrays, which are dropped and computed again."""
    grads = []
    for run in (lambda f, x: f(x), checkpoint):
        x = torch.arange(12.0).view(4, 3).requires_grad_()

        def picked(x):
            y = x * 1.0
            y[index] = y[index] * 3.0
            return y[index] * x[index]

        run(picked, x).sum().backward()
        grads.append(x.grad.tolist())
    assert grads[0] == grads[1]
