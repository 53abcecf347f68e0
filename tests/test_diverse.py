"""Diverse beam search: by the definition, on a small model; its ends, its errors, in `spend`."""

from __future__ import annotations

import numpy as np
import pytest

import tinygrad_llm as torch
from tinygrad_llm.generation import generate, generate_diverse
from tinygrad_llm.models import GPT, GPTConfig


def small(seed=0):
    torch.manual_seed(seed)
    model = GPT(GPTConfig(11, 12, emb_dim=16, n_heads=2, n_layers=1, drop_rate=0.0)).eval()
    for p in model.parameters():
        p.array[...] *= 8.0  # decided opinions
    return model


def by_definition(model, prompt, group, penalty, n, stop):
    """Every text by itself, without a cache."""
    texts = [list(prompt) for _ in range(group)]
    done = [False] * group
    for _ in range(n):
        before = list(done)
        taken = []
        for g in range(group):
            if before[g]:
                continue
            logits = model(torch.tensor([texts[g]]))[0, -1]
            scores = logits.log_softmax(-1).detach().numpy().copy()
            for token in taken:
                scores[token] -= penalty
            token = int(scores.argmax())
            texts[g].append(token)
            taken.append(token)
            done[g] = token == stop
    return texts


@pytest.mark.parametrize("penalty", [0.0, 0.7, 3.0])
def test_rows_are_those_of_the_definition(penalty):
    model, stop = small(), 3
    prompts = [[1, 2, 5], [4, 4]]
    rows = [p for p in prompts for _ in range(4)]
    out = generate_diverse(model, rows, 6, group=4, penalty=penalty, stop_tokens=[stop]).tolist()
    expected = [t for p in prompts for t in by_definition(model, p, 4, penalty, 6, stop)]
    for row, prompt, text in zip(out, rows, expected, strict=True):
        new = row[3:]
        own = text[len(prompt) :]
        assert new[: len(own)] == own[: len(new)] and set(new[len(own) :]) <= {stop}
    greedy = generate(model, prompts, 6, stop_tokens=[stop])[:, 3:].tolist()
    for g, prompt in enumerate(greedy):
        n = min(len(prompt), len(out[0]) - 3)
        assert out[4 * g][3 : 3 + n] == prompt[:n]  # the first row is greedy
    if penalty == 0.0:
        assert out[0] == out[1] == out[2] == out[3]
    if penalty == 3.0:
        assert len({tuple(row) for row in out[:4]}) == 4
    assert generate_diverse(model, rows, 0, group=4).shape == (8, 3)


def test_bad_arguments():
    model = small()
    for options, message in (
        ({"group": 2}, "3 rows are not prompts of 2"), ({"group": 0}, "group must be"),
        ({"group": 3, "penalty": -1.0}, "penalty must be a finite"),
        ({"group": 3, "penalty": float("nan")}, "penalty must be a finite"),
    ):  # fmt: skip
        with pytest.raises(ValueError, match=message):
            generate_diverse(model, np.ones((3, 2), np.int64), 2, **options)
