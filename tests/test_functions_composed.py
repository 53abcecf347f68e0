"""Functions made of others: what a comparison with PyTorch leaves out."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import tinygrad_llm as torch
import tinygrad_llm.nn.functional as F


def test_gumbel_softmax_is_a_sample_with_the_soft_gradient(device):
    torch.manual_seed(0)
    logits = torch.tensor([0.5, 2.0, -1.0], dtype=torch.float64).to(device)
    many = F.gumbel_softmax(logits.expand(4000, 3), hard=True)
    assert set(many.sum(-1).round().tolist()) == {1.0}
    shares = many.mean(0).cpu().numpy()
    np.testing.assert_allclose(shares, torch.softmax(logits, -1).cpu().numpy(), atol=0.03)
    grads = []
    for hard in (False, True):
        torch.manual_seed(1)
        x = logits.clone().requires_grad_()
        (F.gumbel_softmax(x, tau=0.7, hard=hard) * torch.arange(3).to(device)).sum().backward()
        grads.append(x.grad.cpu().numpy())
    np.testing.assert_allclose(grads[1], grads[0])
    assert np.abs(grads[0]).max() > 1e-3


@given(st.floats(-30, 30), st.floats(-30, 30))
def test_logaddexp_and_hypot_have_their_gradients(a, b):
    x, y = (torch.tensor([v], dtype=torch.float64, requires_grad=True) for v in (a, b))
    torch.logaddexp(x, y).sum().backward()
    share = 1 / (1 + np.exp(b - a))
    np.testing.assert_allclose([x.grad.item(), y.grad.item()], [share, 1 - share], atol=1e-12)
    assert torch.hypot(x, y).item() == pytest.approx(np.hypot(a, b))


@given(st.floats(-300, 300))
def test_sinh_is_exact_near_zero_and_far_away(a):
    x = torch.tensor([a, a * 1e-6], dtype=torch.float64, requires_grad=True)
    y = torch.sinh(x)
    np.testing.assert_allclose(y.detach().numpy(), np.sinh(x.detach().numpy()), rtol=1e-14)
    y.sum().backward()
    np.testing.assert_allclose(x.grad.numpy(), np.cosh(x.detach().numpy()), rtol=1e-13)


def test_hypot_of_numbers_whose_squares_overflow():
    assert torch.hypot(torch.tensor([3e38]), torch.tensor([0.0])).item() == np.float32(3e38)


def test_the_slope_of_hardsigmoid_is_a_sixth(device):
    x = torch.tensor([-4.0, -1.0, 2.0, 5.0], dtype=torch.float64).to(device).requires_grad_()
    F.hardsigmoid(x).sum().backward()
    assert x.grad.tolist() == [0.0, 1 / 6, 1 / 6, 0.0]


@pytest.mark.parametrize(
    ("call", "error", "says"),
    [
        (lambda x: torch.quantile(x, 1.5), RuntimeError, "range"),
        (lambda x: torch.quantile(x.long(), 0.5), RuntimeError, "float or double"),
        (lambda x: torch.quantile(x, 0.5, interpolation="odd"), RuntimeError, "one of linear"),
        (lambda x: torch.quantile(x[:0], 0.5), RuntimeError, "non-empty"),
        (lambda x: x.is_nonzero(), RuntimeError, "ambiguous"),
        (lambda x: torch.hsplit(x, 2), RuntimeError, "not divisible"),
        (lambda x: torch.vsplit(x[0], 1), RuntimeError, "at least 2"),
        (lambda x: x.tensor_split(0), RuntimeError, "larger than 0"),
        (lambda x: torch.cartesian_prod(x), RuntimeError, "1D vector"),
        (lambda x: torch.combinations(x), RuntimeError, "1D vector"),
        (lambda x: torch.block_diag(x[None]), RuntimeError, "2 or fewer"),
        (
            lambda x: torch.atleast_1d(3),
            TypeError,
            "expected Tensor as element 0 in argument 0, but got int",
        ),
        (lambda x: x.rot90(1, (0, 0)), RuntimeError, "different"),
        (lambda x: x.diff(-1), RuntimeError, "non-negative"),
        (lambda x: torch.tensordot(x, x, dims=1), RuntimeError, "contracted dimensions"),
        (lambda x: torch.inner(x, x[:, :2]), RuntimeError, "must match"),
        (lambda x: F.triplet_margin_loss(x, x, x, margin=0.0), ValueError, "greater than 0"),
        (lambda x: F.margin_ranking_loss(x, x, x[0]), RuntimeError, "same dimension"),
        (lambda x: F.cosine_embedding_loss(x, x, x), RuntimeError, "expects"),
        (lambda x: F.celu(x, 0.0), RuntimeError, "alpha cannot be 0"),
        (lambda x: x.scatter(0, torch.tensor([[0]])), TypeError, "missing"),
    ],
)
def test_errors_say_what_was_wrong(call, error, says):
    with pytest.raises(error, match=says):
        call(torch.ones(2, 3))
