"""study.compare finds the first place where two models differ, and only that."""

from __future__ import annotations

import copy

import numpy as np
import pytest

import tinygrad_llm as torch
from tinygrad_llm import nn, study
from tinygrad_llm.models import GPT, GPTConfig


def small_gpt(**changes):
    settings = {"vocab_size": 11, "context_length": 8, "emb_dim": 8, "n_heads": 2, "n_layers": 2}
    torch.manual_seed(0)
    model = GPT(GPTConfig(**{**settings, "drop_rate": 0.0, **changes}))
    idx = torch.tensor(np.random.default_rng(0).integers(0, 11, (2, 8)))
    return model.eval(), idx


def test_a_model_is_the_same_as_itself():
    model, idx = small_gpt()
    result = study.compare(model, model, idx)
    assert result.same and result and result.first is None
    assert all(s.difference == 0.0 for s in result.stations) and result.unmatched == []
    assert str(result).startswith(f"the same at all {len(result.stations)} stations")


@pytest.mark.parametrize(
    "name, station",
    [
        ("trf_blocks.1.norm2.bias", "trf_blocks.1.norm2 layer_norm"),
        ("trf_blocks.0.att.qkv.weight", "trf_blocks.0.att.qkv linear"),
        ("pos_emb.weight", "pos_emb embedding"),
        ("final_norm.weight", "final_norm layer_norm"),
    ],
)
def test_the_first_difference_is_in_the_changed_layer(name, station):
    model, idx = small_gpt()
    other = copy.deepcopy(model)
    parameter = dict(other.named_parameters())[name]
    noise = np.random.default_rng(1).normal(0, 0.1, parameter.shape)
    parameter.data = parameter.data + torch.tensor(noise.astype("float32"))
    result = study.compare(model, other, idx)
    assert not result.same and result.first.name == station
    assert result.first.difference > result.first.allowed
    assert "they differ first at " + station in str(result)
    marked = [line for line in result.table().splitlines() if line.lstrip().startswith(">")]
    assert len(marked) == 1 and station.split()[0] in marked[0]


def test_float32_against_float64():
    model, idx = small_gpt()
    wide = copy.deepcopy(model).double()
    result = study.compare(model, wide, idx)
    assert result.same and max(s.difference for s in result.stations) > 0.0
    assert not study.compare(model, wide, idx, rtol=0.0, atol=1e-12).same


def test_cached_against_not():
    model, idx = small_gpt()

    def token_by_token(ids):
        cache = model.new_cache()
        return torch.cat([model(ids[:, i : i + 1], cache) for i in range(ids.shape[1])], dim=1)

    result = study.compare(model, token_by_token, idx)
    assert result.same
    names = {s.name for s in result.stations}
    assert {"trf_blocks.0", "trf_blocks.1.att", "final_norm"} <= names

    def with_a_wrong_position(ids):
        cache = model.new_cache()
        parts = [model(ids[:, :4], cache)]
        kept = model.pos_emb.weight.data
        model.pos_emb.weight.data = kept[[0, 1, 2, 3, 3, 4, 5, 6]]  # a position behind
        parts.append(model(ids[:, 4:], cache))
        model.pos_emb.weight.data = kept
        return torch.cat(parts, dim=1)

    wrong = study.compare(model, with_a_wrong_position, idx)
    assert not wrong.same and wrong.first.name.startswith("pos_emb")


def test_two_functions_by_their_ops():
    def right(x):
        return (x - x.mean(-1, keepdim=True)).exp().sum()

    def wrong(x):
        return ((x - x.mean(-1, keepdim=True)) * 1.001).exp().sum()

    x = torch.tensor([[1.0, 2.0, 4.0]])
    result = study.compare(right, wrong, x)
    assert result.first.name == "exp" and "mul" in result.unmatched
    assert "x.mean(-1, keepdim=True)).exp()" in str(result)


def test_the_message_has_the_place_and_the_values():
    x = torch.tensor([1.0, 2.0, 3.0])
    result = study.compare(lambda x: x * 1.0, lambda x: x * torch.tensor([1.0, 1.0, 2.0]), x)
    assert result.first.index == (2,) and result.first.values == (3.0, 6.0)
    assert "at (2,) a = 3, b = 6" in str(result)


def test_not_a_number_on_one_side_only():
    nan, inf = float("nan"), float("inf")
    x = torch.tensor([1.0, nan, inf])
    assert study.compare(lambda x: x * 1.0, lambda x: x * 1.0, x).same
    y = torch.tensor([1.0, 1.0, 1.0])
    result = study.compare(lambda x: x * 1.0, lambda x: x * torch.tensor([1.0, nan, 1.0]), y)
    assert not result.same and result.first.index == (1,)


def test_results_of_other_shapes_differ():
    x = torch.ones(2, 3)
    result = study.compare(lambda x: x.sum(0), lambda x: x.sum(1), x)
    assert not result.same and "shape (3) and (2)" in str(result.first)


def test_dropout_draws_the_same_numbers_on_both_sides():
    layer = nn.Sequential(nn.Linear(4, 4), nn.Dropout(0.5))
    before = torch.get_rng_state()
    assert study.compare(layer, copy.deepcopy(layer), torch.ones(3, 4)).same
    assert not (torch.get_rng_state().numpy() == before.numpy()).all()  # both drew, once


def test_other_names_can_be_matched():
    class A(nn.Module):
        def __init__(self):
            super().__init__()
            self.first = nn.Linear(2, 2)

        def forward(self, x):
            return self.first(x)

    class B(nn.Module):
        def __init__(self, layer):
            super().__init__()
            self.h = layer

        def forward(self, x):
            return self.h(x) + 1.0

    a = A()
    result = study.compare(a, B(a.first), torch.ones(1, 2), match={"first": "h", "A": "B"})
    assert "first linear" in [s.name for s in result.stations]
    assert result.first.name == "A"


def test_what_cannot_be_compared():
    with pytest.raises(TypeError, match="expected a model or a function"):
        study.compare(3, lambda x: x, torch.ones(1))
    with pytest.raises(TypeError, match="returned no tensor"):
        study.compare(lambda x: 1.0, lambda x: x, torch.ones(1))


def test_devices(device):
    model, idx = small_gpt()
    other = copy.deepcopy(model).to(device)
    assert study.compare(model, other, idx).same
