"""Encoders on pairs against transformers: numbers, answers, sentence vectors; gradients too."""

from __future__ import annotations

import numpy as np
import pytest

torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")
torch.set_num_threads(1)

import tinygrad_llm as tg  # noqa: E402
from tinygrad_llm.finetune.embedding import EmbeddingLoss  # noqa: E402
from tinygrad_llm.finetune.pairs import pair_loss, pair_scores  # noqa: E402
from tinygrad_llm.models import SentenceEncoder  # noqa: E402

from .test_encoders import TOLERANCE, V, close, gradients, ours, their_gradients  # noqa: E402

B, N, T = 3, 4, 11
SIZES = {"vocab_size": V, "hidden_size": 24, "intermediate_size": 20, "num_hidden_layers": 2,
         "num_attention_heads": 3, "max_position_embeddings": 16, "hidden_dropout_prob": 0.0,
         "attention_probs_dropout_prob": 0.0}  # fmt: skip
both_dtypes = pytest.mark.parametrize("dtype", TOLERANCE)


def theirs(kind, **options):
    torch.manual_seed(3)
    model = getattr(transformers, kind)(transformers.BertConfig(**SIZES, **options))
    with torch.no_grad():
        for parameter in model.parameters():
            parameter += 0.1 * torch.randn_like(parameter)
    return model.eval()


def a_batch(rows, labels):
    """ids, mask and token types (rows, T), rows of unequal length."""
    rng = np.random.default_rng(7)
    lengths = rng.integers(4, T + 1, rows)
    mask = (np.arange(T) < lengths[:, None]).astype(np.int64)
    types = (np.arange(T) >= 3).astype(np.int64) * mask
    return {"ids": rng.integers(4, V, (rows, T)) * mask, "attention_mask": mask,
            "token_type_ids": types, "labels": labels}  # fmt: skip


def same_gradients(here, model, dtype):
    expected, there = (
        {n.removeprefix("bert."): g for n, g in each.items()}
        for each in (their_gradients(model), gradients(here))
    )
    largest = max(np.abs(g).max() for g in expected.values())
    seen = [n for n in there if n in expected]
    assert len(seen) > 20
    for name in seen:
        close(there[name], expected[name], dtype, name, TOLERANCE[dtype] * largest + 1e-7)


def tensors(library, batch):
    return {k: library.from_numpy(v.copy()) for k, v in batch.items()}


@both_dtypes
def test_answers_as_in_multiple_choice(tmp_path, dtype):
    """(B, N, T) there, B·N rows here: the same scores (B, N), loss and gradients."""
    model = theirs("BertForMultipleChoice")
    single = transformers.BertForSequenceClassification(
        transformers.BertConfig(**SIZES, num_labels=1)
    )
    single.load_state_dict(model.state_dict())
    here = ours(single, tmp_path, dtype)
    model.double()
    batch = a_batch(B * N, np.array([2, 0, 3]))
    t = tensors(torch, batch)
    shaped = {k: t[k].view(B, N, T) for k in ("attention_mask", "token_type_ids")}
    out = model(t["ids"].view(B, N, T), labels=t["labels"], **shaped)
    own = tensors(tg, batch)
    scores, loss = pair_scores(here, own), pair_loss(here, own)
    close(scores.detach().numpy(), out.logits, dtype)
    assert abs(loss.item() - out.loss.item()) <= TOLERANCE[dtype] * abs(out.loss.item())
    out.loss.backward()
    loss.backward()
    same_gradients(here, model, dtype)


@both_dtypes
def test_numbers_as_in_regression(tmp_path, dtype):
    model = theirs("BertForSequenceClassification", num_labels=1)
    here = ours(model, tmp_path, dtype)
    labels = np.array([0.5, 4.0, 2.5])
    batch = a_batch(B, labels)
    t = tensors(torch, batch)
    out = model(t["ids"], attention_mask=t["attention_mask"], token_type_ids=t["token_type_ids"],
                labels=t["labels"])  # fmt: skip
    loss = pair_loss(here, tensors(tg, {**batch, "labels": labels.astype(dtype)}))
    assert abs(loss.item() - out.loss.item()) <= TOLERANCE[dtype] * abs(out.loss.item())
    out.loss.backward()
    loss.backward()
    same_gradients(here, model, dtype)


@both_dtypes
def test_contrastive_training_step(tmp_path, dtype):
    """Mean of the tokens, cosines, cross-entropy with hard negatives, through the whole encoder."""
    model = theirs("BertModel")
    here = SentenceEncoder(ours(model, tmp_path, dtype)).eval()
    batch = a_batch(3 * B, np.arange(B))
    t = tensors(torch, batch)
    x = model(t["ids"], attention_mask=t["attention_mask"]).last_hidden_state  # (3·B, T, C)
    weight = t["attention_mask"].unsqueeze(-1).double()
    vectors = (x * weight).sum(1) / weight.sum(1)  # (3·B, C)
    own = tensors(tg, batch)
    close(here(own["ids"], own["attention_mask"]).detach().numpy(), vectors, dtype)
    a, others = vectors[:B], vectors[B:]
    scores = torch.nn.functional.cosine_similarity(a[:, None], others[None], dim=-1) / 0.05
    expected = torch.nn.functional.cross_entropy(scores, t["labels"])
    loss = EmbeddingLoss(0.05)(here, {**own, "n": B})
    assert abs(loss.item() - expected.item()) <= 10 * TOLERANCE[dtype] * abs(expected.item())
    expected.backward()
    loss.backward()
    same_gradients(here.model, model, dtype)
