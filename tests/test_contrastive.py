"""The contrastive loss: by hand, at its limits, and its errors; its twin is in layer_reference."""

from __future__ import annotations

import math

import numpy as np
import pytest

import tinygrad_llm as torch
from tinygrad_llm import study
from tinygrad_llm.layers.contrastive import ContrastiveLoss, similarities
from tinygrad_llm.study.draw.similarity_maps import similarity_pictures


def test_by_hand():
    """Two pairs at right angles: cosines 1 and 0, so each loss is log(e^{1/τ} + 1) − 1/τ."""
    a = torch.tensor([[2.0, 0.0], [0.0, 3.0]])
    p = torch.tensor([[1.0, 0.0], [0.0, 0.5]])
    for tau in (0.05, 0.5, 2.0):
        expected = math.log(1.0 + math.exp(-1.0 / tau))
        assert ContrastiveLoss(tau)(a, p).item() == pytest.approx(expected, abs=1e-6)
    n = torch.tensor([[-1.0, 0.0], [1.0, 1.0], [5.0, 0.0]])
    s = np.array([[1.0, 0.0, -1.0, math.sqrt(0.5), 1.0], [0.0, 1.0, 0.0, math.sqrt(0.5), 0.0]])
    expected = np.log(np.exp(s / 0.5).sum(1)) - 2.0  # (B)
    assert ContrastiveLoss(0.5)(a, p, n).item() == pytest.approx(expected.mean(), abs=1e-6)
    np.testing.assert_allclose(similarities(a, torch.cat([p, n])).numpy(), s, atol=1e-6)


def test_no_gradient_along_a_vector():
    """A longer vector has the same angles."""
    torch.manual_seed(0)
    vectors = [torch.randn(4, 3, dtype=torch.float64, requires_grad=True) for _ in range(3)]
    ContrastiveLoss(0.1)(*vectors).backward()
    for x in vectors:
        assert abs((x.grad * x).sum(-1).detach().numpy()).max() < 1e-12
        assert abs(x.grad.numpy()).max() > 1e-3


@pytest.mark.parametrize("value", [0.0, -1.0, math.inf, math.nan])
def test_temperature_is_checked(value):
    with pytest.raises(ValueError, match="temperature must be above 0"):
        ContrastiveLoss(value)


@pytest.mark.parametrize(
    ("shapes", "name"),
    [(((2, 3), (3, 3)), "positives"), (((2, 3), (2, 3), (2, 4)), "negatives"),
     (((2, 3), (2, 3), (3,)), "negatives"), (((3,), (3,)), "positives")],
)  # fmt: skip
def test_shapes_are_checked(shapes, name):
    with pytest.raises(ValueError, match=rf"were expected; anchors .*, {name} \("):
        ContrastiveLoss()(*[torch.randn(*s) for s in shapes])


def test_the_drawing(tmp_path):
    """Cosines, and the softmax whose diagonal is the loss; partners are framed."""
    torch.manual_seed(3)
    a, p, n = torch.randn(3, 4), torch.randn(3, 4), torch.randn(2, 4)
    pictures = similarity_pictures(a, torch.cat([p, n]), 0.5)
    shares = pictures["share of each candidate"]
    assert pictures["cosine"].shape == shares.shape == (3, 5)
    loss = -np.log(np.diagonal(shares)).mean()
    assert loss == pytest.approx(ContrastiveLoss(0.5)(a, p, n).item(), rel=1e-5)
    file = study.draw_similarities(a.numpy(), p.numpy(), ["x", "y", "z"], file=tmp_path / "s.png")
    assert file.read_bytes().startswith(b"\x89PNG")
    assert len(study.draw_similarities(a, p).axes[0].patches) == 3
    picture = study.draw_similarities(a, p, ["one two three four five six seven", "y", "z"])
    assert picture.axes[0].get_yticklabels()[0].get_text() == "one two three four fiv ..."
    with pytest.raises(ValueError, match="at least as many candidates"):
        study.draw_similarities(a, p[:2])
