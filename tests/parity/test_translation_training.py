"""Training an encoder-decoder beside PyTorch's nn.Transformer: batches, dropout, rates, losses."""

from __future__ import annotations

import pytest

torch = pytest.importorskip("torch")
torch.set_num_threads(1)

import tinygrad_llm as tg  # noqa: E402
from benchmarks.translation import apart, prepared, side_by_side, twice  # noqa: E402

SMALL = {"data": "sample", "emb_dim": 16, "n_heads": 2, "n_layers": 1, "batch_tokens": 300}


@pytest.mark.parametrize("float64", [False, True])
@pytest.mark.parametrize("changes", [{}, {"shared": True, "norm_first": True}])
def test_losses_of_the_first_steps(changes, float64):
    """The same weights, batches, dropout masks, label smoothing, rates and clipping."""
    run = prepared({**SMALL, "steps": 10, **changes}, float64)
    losses = side_by_side(run, 10, seed=7)["losses"]
    assert losses["ours"][0] > losses["ours"][-1]
    for ours, theirs in zip(losses["ours"], losses["torch"], strict=True):
        assert abs(ours - theirs) < (1e-9 if float64 else 1e-4)


def test_a_hundred_losses_differ_by_rounding_alone():
    """In float64 they agree to 1e-10: what float32 adds is rounding (benchmarks/TRANSLATION.md)."""
    run = prepared({**SMALL, "steps": 100}, float64=True)
    losses = side_by_side(run, 100, seed=7)["losses"]
    assert losses["ours"][-1] < 0.9 * losses["ours"][0] and apart(losses) < 1e-10


@pytest.mark.slow
@pytest.mark.parametrize("sides", [side_by_side, twice])
def test_a_hundred_losses_in_float32(sides):
    """Ours is as near to PyTorch as PyTorch is to itself when its weights begin one bit away."""
    run = prepared({**SMALL, "steps": 100})
    assert apart(sides(run, 100, seed=7)["losses"]) < 1e-5


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
