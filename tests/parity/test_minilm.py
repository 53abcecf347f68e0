"""all-MiniLM-L6-v2, published weights of a sentence encoder, against transformers."""

from __future__ import annotations

import numpy as np
import pytest
from published import needs_weights

pytestmark = pytest.mark.weights
torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")

import tinygrad_llm as tg  # noqa: E402
from tinygrad_llm import models, text  # noqa: E402
from tinygrad_llm.weights import packaged  # noqa: E402

needs_weights("all-minilm-l6-v2")
FOLDER = packaged.find("all-minilm-l6-v2")


TEXTS = ["A man is eating food.", "A man is eating a piece of bread.",
         "Schrödinger's cat, 猫 and naïve 123-456!"]  # fmt: skip


@pytest.fixture(scope="module")
def model():
    return models.from_pretrained("all-minilm-l6-v2")


def encoded():
    """ids and attention mask of the texts, padded at the right."""
    tokenizer = text.from_pretrained("all-minilm-l6-v2")
    rows = [tokenizer.encode(one) for one in TEXTS]
    width = max(map(len, rows))
    ids = np.array([row + [0] * (width - len(row)) for row in rows])
    mask = np.array([[1] * len(row) + [0] * (width - len(row)) for row in rows])
    return ids, mask


def test_ids_equal():
    theirs = transformers.AutoTokenizer.from_pretrained(FOLDER)
    tokenizer = text.from_pretrained(FOLDER)
    for one in TEXTS:
        assert tokenizer.encode(one) == theirs(one)["input_ids"]


def test_hidden_states(model):
    theirs = transformers.AutoModel.from_pretrained(FOLDER).eval()
    ids, mask = encoded()
    with torch.no_grad(), tg.no_grad():
        a = model(tg.from_numpy(ids), tg.from_numpy(mask)).numpy()
        b = theirs(torch.from_numpy(ids), torch.from_numpy(mask)).last_hidden_state.numpy()
    assert isinstance(model, models.Bert)
    assert model.n_parameters() == 22_565_376  # without the pooler's 147,840
    assert np.abs((a - b) * mask[..., None]).max() < 1e-5


def test_similar_sentences(model):
    ids, mask = encoded()
    with tg.no_grad():
        x = model(tg.from_numpy(ids), tg.from_numpy(mask)).numpy()
    mean = (x * mask[..., None]).sum(1) / mask.sum(1, keepdims=True)  # (B, T, C) -> (B, C)
    mean /= np.linalg.norm(mean, axis=-1, keepdims=True)
    assert mean[0] @ mean[1] == pytest.approx(0.755, abs=1e-3)
    assert mean[0] @ mean[2] < 0.2
