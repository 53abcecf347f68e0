"""Where the last token looks: equal to what the drawn maps show, in any thread."""

from __future__ import annotations

import numpy as np
import pytest
from tiny_chat import tiny_model

import tinygrad_llm as torch
from tinygrad_llm import study
from tinygrad_llm.models import GPT
from tinygrad_llm.models.attention_weights import attention_weights

IDS = list(range(50, 63))


def models():
    torch.manual_seed(1)
    gpt = {"vocab_size": 259, "context_length": 20, "emb_dim": 16, "n_heads": 2, "n_layers": 2,
           "drop_rate": 0.0}  # fmt: skip
    yield "gpt", GPT(gpt).eval()
    yield "window", GPT({**gpt, "attention": "swa", "window": 4}).eval()
    for name, sizes in (("Llama", {}), ("Gemma3", {"window": 5}), ("Qwen3", {})):
        yield name, tiny_model(20, name, **sizes)


@pytest.mark.parametrize(("name", "model"), list(models()))
def test_equal_to_the_last_row_of_each_map(name, model):
    rows = attention_weights(model, IDS)
    maps = study.draw_attention(model, torch.tensor([IDS])).maps
    assert len(rows) == len(maps) == 2
    for (_, whole), weights in zip(maps, rows.values(), strict=True):
        assert weights.shape == (2, len(IDS)) and weights.dtype == np.float32
        np.testing.assert_allclose(weights, whole[:, -1], atol=1e-6)
        np.testing.assert_allclose(weights.sum(-1), 1.0, atol=1e-6)
    assert name != "window" or (rows["trf_blocks.0.att"][:, :-4] == 0).all()


def test_the_model_itself_is_left_alone():
    model = tiny_model(20)
    before = {name: vars(m).copy() for name, m in model.named_modules()}
    attention_weights(model, IDS)
    for name, module in model.named_modules():
        assert {k: id(v) for k, v in vars(module).items()} == {
            k: id(v) for k, v in before[name].items()
        }


def test_a_model_without_such_an_attention_is_refused():
    latent = GPT({"vocab_size": 70, "context_length": 20, "emb_dim": 16, "n_heads": 2,
                  "n_layers": 1, "drop_rate": 0.0, "attention": "mla"})  # fmt: skip
    with pytest.raises(ValueError, match="GPT has no attention whose weights can be shown"):
        attention_weights(latent, IDS)
