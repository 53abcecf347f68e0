"""A tagger of a BERT with a CRF against transformers and pytorch-crf: scores, loss, gradients."""

from __future__ import annotations

import numpy as np
import pytest

torch = pytest.importorskip("torch")
torchcrf = pytest.importorskip("torchcrf")
transformers = pytest.importorskip("transformers")

import tinygrad_llm as tg  # noqa: E402
from tinygrad_llm.models import Tagger  # noqa: E402

from .test_encoders import TOLERANCE, both_dtypes, close, ours, theirs  # noqa: E402

LENGTHS = (11, 8, 3)


@both_dtypes
@pytest.mark.parametrize("crf", [True, False])
def test_a_tagger_is_a_token_classifier_with_a_crf(tmp_path, dtype, crf):
    K = 5  # O, and B and I of two types
    model = theirs("bert", "TokenClassification", num_labels=K)
    body = ours(model, tmp_path, dtype)
    here = Tagger(body, ("person", "place"), crf=crf, pad_token_id=0).to(getattr(tg, dtype)).eval()
    chain = torchcrf.CRF(K, batch_first=True).double()
    with tg.no_grad():
        for name in ("weight", "bias"):
            own = getattr(model.classifier, name).detach().numpy().astype(dtype)
            getattr(here.out_head, name).copy_(tg.from_numpy(own))
        if crf:
            for name, parameter in chain.named_parameters():
                own = parameter.detach().numpy().astype(dtype)
                dict(here.crf.named_parameters())[name].copy_(tg.from_numpy(own))
    rng = np.random.default_rng(4)
    mask = np.arange(LENGTHS[0]) < np.array(LENGTHS)[:, None]  # (B, T)
    ids = np.where(mask, rng.integers(4, 37, mask.shape), 0)
    labels = np.where(mask, rng.integers(0, K, mask.shape), -100)
    scores = model(torch.from_numpy(ids), attention_mask=torch.from_numpy(mask).long()).logits
    close(here(tg.from_numpy(ids)).detach().numpy() * mask[..., None],
          scores * torch.from_numpy(mask)[..., None], dtype)  # fmt: skip
    if crf:
        seen = torch.from_numpy(mask)
        expected = -chain(scores, torch.from_numpy(labels).clip(0), seen, "token_mean")
    else:
        expected = torch.nn.functional.cross_entropy(
            scores.flatten(0, 1), torch.from_numpy(labels).flatten()
        )
    loss = here.loss(tg.from_numpy(ids), tg.from_numpy(labels))
    assert abs(loss.item() - expected.item()) <= 10 * TOLERANCE[dtype] * abs(expected.item())
    expected.backward()
    loss.backward()
    pairs = [(here.out_head.weight, model.classifier.weight),
             (here.out_head.bias, model.classifier.bias),
             (here.model.tok_emb.weight, model.bert.embeddings.word_embeddings.weight)]  # fmt: skip
    if crf:
        pairs += [(dict(here.crf.named_parameters())[n], p) for n, p in chain.named_parameters()]
    for a, b in pairs:
        close(a.grad.numpy(), b.grad, dtype, least=1e-7)
