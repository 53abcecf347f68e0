"""Hooks on tensors and modules, and autograd.Function, on every device."""

from __future__ import annotations

import gc

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import tinygrad_llm as torch
from tinygrad_llm import nn
from tinygrad_llm.autograd import hooks


def leaf(values, device="cpu"):
    return torch.tensor(values, dtype=torch.float64, device=device, requires_grad=True)


# -------------------------------------------------------------------------------------- tensors
def test_a_hook_sees_the_whole_gradient_once_and_may_replace_it(device):
    x = leaf([1.0, 2.0], device)
    y = x * 3
    seen = {"x": [], "y": []}
    x.register_hook(lambda g: seen["x"].append(g.tolist()))
    y.register_hook(lambda g: seen["y"].append(g.tolist()))
    y.register_hook(lambda g: g * 10)
    (y + y * y + x).sum().backward()  # ∂L/∂y = 1 + 2y, and x gets 1 directly
    assert seen == {"x": [[211.0, 391.0]], "y": [[7.0, 13.0]]}
    assert x.grad.tolist() == [211.0, 391.0]


@given(st.lists(st.floats(-2, 2), max_size=4))
def test_factors_of_a_chain_of_hooks_multiply(factors):
    x = leaf([1.0, -1.0])
    handles = [x.register_hook(lambda g, f=f: g * f) for f in factors]
    (x * torch.tensor([2.0, 3.0], dtype=torch.float64)).sum().backward()
    np.testing.assert_allclose(x.grad.numpy(), np.prod(factors) * np.array([2.0, 3.0]))
    for handle in handles:
        handle.remove()
        handle.remove()  # twice is once
    x.grad = None
    x.sum().backward()
    assert x.grad.tolist() == [1.0, 1.0]


def test_hooks_that_keep_or_change_what_they_get_do_no_harm():
    x = leaf([1.0, 2.0])
    kept = []
    x.register_hook(kept.append)
    x.sum().backward()
    x.sum().backward()
    assert x.grad.tolist() == [2.0, 2.0]
    assert [g.tolist() for g in kept] == [[1.0, 1.0], [1.0, 1.0]]


def test_retain_grad_keeps_what_the_hooks_made():
    x = leaf([1.0])
    y = x * 2
    y.retain_grad()
    assert y.retains_grad and not x.retains_grad
    y.register_hook(lambda g: g * 7)
    y.sum().backward()
    assert y.grad.item() == 7.0 and x.grad.item() == 14.0


def test_one_output_of_several():
    x = leaf([[3.0, 1.0], [2.0, 5.0]])
    values, _ = x.max(dim=1)
    values.register_hook(lambda g: g * 5)
    values.sum().backward()
    assert x.grad.tolist() == [[5.0, 0.0], [0.0, 5.0]]


def test_grad_sees_hooks_and_calls_none_after_accumulation():
    x = leaf([1.0, 2.0])
    x.register_hook(lambda g: g * 4)
    x.register_post_accumulate_grad_hook(lambda x: pytest.fail("nothing was accumulated"))
    (g,) = torch.autograd.grad((x * x).sum(), x)
    assert g.tolist() == [8.0, 16.0] and x.grad is None


def test_step_in_backward_is_a_step_after_it(device):
    torch.manual_seed(1)
    a, b = (nn.Linear(3, 2).to(device) for _ in range(2))
    b.load_state_dict(a.state_dict())
    optimizer = torch.optim.SGD(a.parameters(), lr=0.1)

    def step(p):
        with torch.no_grad():
            p -= 0.1 * p.grad
        p.grad = None

    for p in b.parameters():
        p.register_post_accumulate_grad_hook(step)
    for _ in range(3):
        x = torch.randn(4, 3).to(device)
        optimizer.zero_grad()
        a(x).pow(2).sum().backward()
        optimizer.step()
        b(x).pow(2).sum().backward()
    assert all(p.grad is None for p in b.parameters())
    for p, q in zip(a.parameters(), b.parameters(), strict=True):
        torch.testing.assert_close(p.detach(), q.detach())


@pytest.mark.parametrize(
    ("call", "says"),
    [
        (lambda: torch.ones(2).register_hook(print), "doesn't require gradient"),
        (lambda: torch.ones(2).register_post_accumulate_grad_hook(print), "doesn't require"),
        (lambda: (leaf([1.0]) * 2).register_post_accumulate_grad_hook(print), "non-leaf"),
    ],
)
def test_what_can_have_no_hook_says_so(call, says):
    with pytest.raises(RuntimeError, match=says):
        call()


def test_a_hook_that_returns_the_wrong_thing_is_named():
    def shorter(g):
        return g[:1]

    def number(g):
        return 3

    x = leaf([1.0, 2.0])
    with x.register_hook(shorter), pytest.raises(RuntimeError, match=r"'shorter'.*\(2,\).*\(1,\)"):
        x.sum().backward()
    with (x * 1).register_hook(number):
        pass
    y = x * 1
    y.register_hook(number)
    with pytest.raises(TypeError, match="'number' returned int"):
        y.sum().backward()
    assert x.grad is None


def test_hooks_go_with_their_leaf():
    gc.collect()
    before = len(hooks.leaf_hooks)
    x = leaf([1.0])
    x.register_hook(lambda g: g)
    assert len(hooks.leaf_hooks) == before + 1
    del x
    gc.collect()
    assert len(hooks.leaf_hooks) == before


# -------------------------------------------------------------------------------------- modules
def test_module_hooks_see_and_replace(device):
    layer = nn.Linear(2, 1, bias=False).to(device)
    layer.weight.data = torch.tensor([[2.0, -1.0]]).to(device)
    x = torch.tensor([[1.0, 4.0]]).to(device).requires_grad_()
    seen = []
    first = layer.register_full_backward_hook(lambda m, gi, go: seen.append((gi, go)))
    layer.register_full_backward_pre_hook(lambda m, go: (go[0] * 3,))
    layer.register_full_backward_hook(lambda m, gi, go: (gi[0] + 1,))
    layer(x).sum().backward()
    ((into,), (out,)) = seen[0]
    assert into.tolist() == [[6.0, -3.0]] and out.tolist() == [[3.0]]
    assert x.grad.tolist() == [[7.0, -2.0]]
    assert layer.weight.grad.tolist() == [[3.0, 12.0]]
    first.remove()
    layer(x).sum().backward()
    assert len(seen) == 1


def test_module_hooks_with_several_inputs_and_outputs():
    class Two(nn.Module):
        def forward(self, x, n, y):
            return x * y, x + n * y, "text"

    module, seen = Two(), []
    module.register_full_backward_hook(lambda m, gi, go: seen.append((gi, go)))
    x, y = leaf([2.0]), leaf([5.0])
    product, total, text = module(x, 3, y)
    (product * 10 + total * 0.5).sum().backward()
    gi, go = seen[0]
    assert text == "text"
    assert [g if g is None else g.item() for g in gi] == [50.5, None, 21.5]
    assert [g if g is None else g.item() for g in go] == [10.0, 0.5, None]
    assert (x.grad.item(), y.grad.item()) == (50.5, 21.5)


def test_module_hook_without_an_input_that_wants_a_gradient():
    layer, seen = nn.Linear(2, 1), []
    layer.register_full_backward_hook(lambda m, gi, go: seen.append((gi, go[0].tolist())))
    layer(torch.ones(1, 2)).sum().backward()
    assert seen == [((None,), [[1.0]])]


def test_module_hook_that_returns_too_many():
    layer = nn.Linear(2, 1)
    layer.register_full_backward_hook(lambda m, gi, go: (gi[0], gi[0]))
    with pytest.raises(RuntimeError, match="got 2, but expected 1"):
        layer(leaf([[1.0, 2.0]]).float()).sum().backward()


# ------------------------------------------------------------------------------------- functions
class Cube(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x):
        ctx.save_for_backward(x)
        return x**3

    @staticmethod
    def backward(ctx, g):
        (x,) = ctx.saved_tensors
        return 3 * x**2 * g


class WrongCube(Cube):
    @staticmethod
    def backward(ctx, g):
        (x,) = ctx.saved_tensors
        return 2 * x**2 * g


class Both(torch.autograd.Function):
    """Sum and difference; `asked` notes what backward gets for an output that nobody used."""

    asked: list = []

    @staticmethod
    def forward(ctx, x, y, materialize):
        ctx.set_materialize_grads(materialize)
        return x + y, x - y

    @staticmethod
    def backward(ctx, g, h):
        Both.asked.append(h)
        h = torch.zeros_like(g) if h is None else h
        return g + h, g - h, None


def test_function_on_every_device(device):
    x = torch.tensor([1.0, -2.0]).to(device).requires_grad_()
    y = Cube.apply(x)
    assert y.tolist() == [1.0, -8.0] and y.dtype == torch.float32
    assert "CubeBackward" in repr(y)
    y.sum().backward()
    assert x.grad.tolist() == [3.0, 12.0] and x.grad.dtype == torch.float32


def test_gradcheck_tells_a_wrong_backward():
    x = torch.randn(3, 2, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(Cube.apply, (x,))
    assert not torch.autograd.gradcheck(WrongCube.apply, x, raise_exception=False)
    with pytest.raises(RuntimeError, match="the gradient is wrong"):
        torch.autograd.gradcheck(WrongCube.apply, (x,))


@pytest.mark.parametrize("materialize", [True, False])
def test_an_output_that_nobody_used(materialize):
    x, y = leaf([1.0]), leaf([2.0])
    total, _ = Both.apply(x, y, materialize)
    total.sum().backward()
    (h,) = Both.asked
    Both.asked.clear()
    assert h.tolist() == [0.0] if materialize else h is None
    assert (x.grad.item(), y.grad.item()) == (1.0, 1.0)


def test_what_a_function_saved_is_guarded():
    x = leaf([1.0, 2.0]) * 1
    y = Cube.apply(x)
    x.add_(1.0)
    with pytest.raises(RuntimeError, match="modified by an inplace operation: Cube"):
        y.sum().backward()
    y = Cube.apply(leaf([1.0])).sum()
    y.backward()
    with pytest.raises(RuntimeError, match="second time: what Cube saved"):
        y.backward()


def test_a_function_outside_the_graph():
    x = leaf([2.0])
    with torch.no_grad():
        assert not Cube.apply(x).requires_grad
    assert not Cube.apply(x.detach()).requires_grad


def test_errors_of_a_function_are_its_own():
    class Fails(torch.autograd.Function):
        @staticmethod
        def forward(ctx, x):
            raise ValueError("this one")

    class Number(torch.autograd.Function):
        @staticmethod
        def forward(ctx, x):
            return 3.0

    class NoBackward(torch.autograd.Function):
        @staticmethod
        def forward(ctx, x):
            return x * 2

    class Few(Cube):
        @staticmethod
        def backward(ctx, g):
            return g, g, None

    x = leaf([1.0])
    with pytest.raises(ValueError, match="this one"):
        Fails.apply(x)
    with pytest.raises(TypeError, match=r"Number\.forward must return a Tensor .* got float"):
        Number.apply(x)
    with pytest.raises(NotImplementedError, match="backward"):
        NoBackward.apply(x).sum().backward()
    with pytest.raises(RuntimeError, match=r"FewBackward.*expected 1, got 2"):
        Few.apply(x).sum().backward()
