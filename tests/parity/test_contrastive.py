"""The contrastive loss against PyTorch's cross_entropy over cosine_similarity, with gradients."""

from __future__ import annotations

import numpy as np
import pytest

torch = pytest.importorskip("torch")

import tinygrad_llm as tg  # noqa: E402
from tinygrad_llm.layers.contrastive import ContrastiveLoss  # noqa: E402

B, M, C = 5, 3, 7


@pytest.mark.parametrize(("dtype", "tolerance"), [("float32", 1e-5), ("float64", 1e-12)])
@pytest.mark.parametrize("temperature", [0.05, 0.7])
@pytest.mark.parametrize("n_negatives", [0, M, B])
def test_value_and_gradients(dtype, tolerance, temperature, n_negatives):
    rng = np.random.default_rng(1)
    arrays = [rng.standard_normal((n, C)).astype(dtype) * 2 for n in (B, B, n_negatives) if n]
    ours = [tg.from_numpy(a.copy()).requires_grad_() for a in arrays]
    theirs = [torch.from_numpy(a.copy()).requires_grad_() for a in arrays]
    scores = torch.nn.functional.cosine_similarity(
        theirs[0][:, None], torch.cat(theirs[1:])[None], dim=-1
    )  # (B, B + M)
    expected = torch.nn.functional.cross_entropy(scores / temperature, torch.arange(B))
    loss = ContrastiveLoss(temperature)(*ours)
    assert abs(loss.item() - expected.item()) <= tolerance * abs(expected.item())
    assert loss.dtype == getattr(tg, dtype)
    (loss * 1.7).backward()
    (expected * 1.7).backward()
    for a, b in zip(ours, theirs, strict=True):
        largest = float(b.grad.abs().max())
        np.testing.assert_allclose(
            a.grad.numpy(), b.grad.numpy(), rtol=0, atol=tolerance * largest + 1e-7
        )
