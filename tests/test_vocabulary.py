"""Growing a vocabulary: tokens added to a tokenizer, rows added to a model."""

from __future__ import annotations

import numpy as np
import pytest

import tinygrad_llm as torch
from tinygrad_llm.models import GPT, GPTConfig, resize_vocabulary


def model(tied: bool, dtype: str) -> GPT:
    torch.manual_seed(3)
    made = GPT(GPTConfig(13, 6, 8, 2, 1, 0.0, tie_weights=tied))
    return made.to(getattr(torch, dtype)).eval()


@pytest.mark.parametrize("rows", ["mean", "normal"])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("tied", [True, False])
def test_old_rows_stay_to_the_last_bit(tied, dtype, rows):
    grown, old = model(tied, dtype), model(tied, dtype)
    resize_vocabulary(grown, 18, rows)
    ids = torch.tensor([[1, 2, 12]])
    new, before = grown(ids).detach().numpy(), old(ids).detach().numpy()
    assert new.shape == (1, 3, 18) and grown.config.vocab_size == 18
    assert np.abs(new[..., :13] - before).max() <= 1e-6 * np.abs(before).max()
    for name in ("tok_emb", "out_head"):
        w, v = (
            getattr(grown, name).weight.detach().numpy(),
            getattr(old, name).weight.detach().numpy(),
        )
        assert w.dtype == dtype and (w[:13] == v).all()
        spread = np.abs(w[13:] - v.mean(0)).max()
        assert spread < 1e-7 if rows == "mean" else 0 < spread < 0.2
    assert (grown.out_head.weight is grown.tok_emb.weight) == tied
    assert grown.out_head.bias is None and grown.out_head.out_features == 18
    assert grown.n_parameters() == old.n_parameters() + (1 if tied else 2) * 5 * 8


def test_a_grown_model_trains_and_is_saved(tmp_path):
    from tinygrad_llm.models import from_pretrained, save_pretrained

    grown = model(False, "float32")
    resize_vocabulary(grown, 14)
    ids = torch.tensor([[13, 1, 13]])
    grown.loss(ids, ids).backward()
    assert np.abs(grown.tok_emb.weight.grad.numpy()[13]).max() > 0
    assert not grown.tok_emb.weight.grad.numpy()[2:13].any()
    big = GPT(GPTConfig(13, 6, 64, 1, 1, 0.0))
    resize_vocabulary(big, 14)
    again = from_pretrained(save_pretrained(big, tmp_path / "m"))
    assert (again.tok_emb.weight.detach().numpy() == big.tok_emb.weight.detach().numpy()).all()


@pytest.mark.parametrize("size, rows", [(12, "mean"), (13.5, "mean"), (True, "mean"), (20, "zero")])
def test_wrong_arguments(size, rows):
    with pytest.raises(ValueError, match="must be"):
        resize_vocabulary(model(True, "float32"), size, rows)


def test_a_head_with_lora_is_refused():
    from tinygrad_llm.layers import lora

    with_lora = model(False, "float32")
    lora.add(with_lora, rank=2, names=["out_head"])
    with pytest.raises(TypeError, match="merge it first"):
        resize_vocabulary(with_lora, 20)


def test_the_same_size_changes_nothing():
    same = model(True, "float32")
    weight = same.tok_emb.weight
    resize_vocabulary(same, 13)
    assert same.tok_emb.weight is weight
