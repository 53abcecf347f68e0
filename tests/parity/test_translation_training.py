"""Training an encoder-decoder beside PyTorch's nn.Transformer: batches, dropout, rates, losses."""

from __future__ import annotations

import pytest

torch = pytest.importorskip("torch")
torch.set_num_threads(1)

import tinygrad_llm as tg  # noqa: E402
from benchmarks.translation import prepared, side_by_side  # noqa: E402


@pytest.mark.parametrize("float64", [False, True])
@pytest.mark.parametrize("changes", [{}, {"shared": True, "norm_first": True}])
def test_losses_of_the_first_steps(changes, float64):
    """The same weights, batches, dropout masks, label smoothing, rates and clipping."""
    run = prepared(
        {"data": "sample", "emb_dim": 16, "n_heads": 2, "n_layers": 1, "batch_tokens": 300,
         "steps": 10, **changes}, float64,
    )  # fmt: skip
    losses = side_by_side(run, 10, seed=7)["losses"]
    assert losses["ours"][0] > losses["ours"][-1]
    for ours, theirs in zip(losses["ours"], losses["torch"], strict=True):
        assert abs(ours - theirs) < (1e-9 if float64 else 1e-4)


@pytest.mark.parametrize("keys", [8, 5])
def test_dropout_of_attention_weights_that_have_the_shape_of_the_queries(keys):
    """Queries that lie in another order in memory do not change which weights are dropped."""
    B, H, D = 4, 3, 8
    x = torch.randn(B, 8, 3 * H, D, generator=torch.Generator().manual_seed(0))
    theirs = x.transpose(1, 2).split(H, 1)
    ours = tg.from_numpy(x.numpy()).transpose(1, 2).split(H, 1)
    torch.manual_seed(1)
    tg.manual_seed(1)
    expected = torch.nn.functional.scaled_dot_product_attention(
        theirs[0], theirs[1][:, :, :keys], theirs[2][:, :, :keys], dropout_p=0.4
    )
    y = tg.nn.functional.scaled_dot_product_attention(
        ours[0], ours[1][:, :, :keys], ours[2][:, :, :keys], dropout_p=0.4
    )
    assert (y - tg.from_numpy(expected.numpy())).abs().max().item() < 1e-5
