"""Log-probabilities, the DPO loss and a classifier's loss against PyTorch's autograd."""

from __future__ import annotations

import numpy as np
import pytest

torch = pytest.importorskip("torch")
torch.set_num_threads(1)

import tinygrad_llm as tg  # noqa: E402
from tinygrad_llm.finetune import (  # noqa: E402
    GPTClassifier,
    dpo_loss,
    log_probabilities,
)
from tinygrad_llm.models import GPT  # noqa: E402

DRAW = np.random.default_rng(5)


def books_log_probabilities(logits, labels, mask, average):
    """As the book's chapter on DPO computes them."""
    labels, logits, mask = labels[:, 1:], logits[:, :-1], mask[:, 1:]
    log_p = torch.gather(
        torch.log_softmax(logits, dim=-1), dim=-1, index=labels.unsqueeze(-1)
    ).squeeze(-1)
    log_p = log_p * mask
    return log_p.sum(-1) / mask.sum(-1) if average else log_p.sum(-1)


@pytest.mark.parametrize("smoothing", [0.0, 0.2])
@pytest.mark.parametrize("average", [False, True])
def test_dpo(average, smoothing):
    B, T, V, beta = 3, 6, 9, 0.4
    logits = [DRAW.standard_normal((B, T, V)).astype(np.float32) for _ in range(4)]
    ids = [DRAW.integers(0, V, (B, T)) for _ in range(2)]
    masks = [DRAW.random((B, T)) < 0.5 for _ in range(2)]
    for mask in masks:
        mask[:, 3] = True
    theirs = [torch.tensor(x, requires_grad=i < 2) for i, x in enumerate(logits)]
    p = [
        books_log_probabilities(x, torch.tensor(ids[i % 2]), torch.tensor(masks[i % 2]), average)
        for i, x in enumerate(theirs)
    ]
    h = beta * ((p[0] - p[1]) - (p[2] - p[3]))
    log_sigmoid = torch.nn.functional.logsigmoid
    loss = (-(1 - smoothing) * log_sigmoid(h) - smoothing * log_sigmoid(-h)).mean()
    loss.backward()
    ours = [tg.tensor(x, requires_grad=i < 2) for i, x in enumerate(logits)]
    q = [
        log_probabilities(x, tg.tensor(ids[i % 2]), tg.tensor(masks[i % 2]), average)
        for i, x in enumerate(ours)
    ]
    out = dpo_loss(*q, beta=beta, label_smoothing=smoothing)
    out.loss.backward()
    for a, b in zip(q, p, strict=True):
        np.testing.assert_allclose(a.detach().numpy(), b.detach().numpy(), rtol=1e-5, atol=1e-5)
    assert out.loss.item() == pytest.approx(loss.item(), rel=1e-5)
    for a, b in zip(ours[:2], theirs[:2], strict=True):
        np.testing.assert_allclose(a.grad.numpy(), b.grad.numpy(), rtol=1e-4, atol=1e-6)
    margins = (beta * (p[0] - p[2]) - beta * (p[1] - p[3])).detach().numpy()
    np.testing.assert_allclose(out.margins.numpy(), margins, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("pool", ["last", "last_real", "first", "mean"])
def test_the_head_of_a_classifier(pool):
    """The hidden states are the GPT's; the layers after them are checked here, with gradients."""
    gpt = GPT({"vocab_size": 12, "context_length": 6, "emb_dim": 8, "n_heads": 2, "n_layers": 1})
    model = GPTClassifier(gpt, 3, pool, pad_token_id=11).eval()
    ids = np.array([[1, 2, 3, 11, 11, 11], [4, 5, 6, 7, 8, 9]])
    labels = np.array([2, 0])
    hidden = tg.tensor(DRAW.standard_normal((2, 6, 8)).astype(np.float32), requires_grad=True)
    gpt.hidden_states = lambda idx, mask=None: hidden[:, : idx.shape[1]]
    loss = model.loss(tg.tensor(ids), tg.tensor(labels))
    loss.backward()
    x = torch.tensor(hidden.detach().numpy(), requires_grad=True)
    picked = {
        "last": x[:, -1], "first": x[:, 0], "last_real": torch.stack([x[0, 2], x[1, 5]]),
        "mean": torch.stack([x[0, :3].mean(0), x[1].mean(0)]),
    }[pool]  # fmt: skip
    weight, bias = (torch.tensor(p.detach().numpy()) for p in model.out_head.parameters())
    loss_of_torch = torch.nn.functional.cross_entropy(
        picked @ weight.T + bias, torch.tensor(labels)
    )
    loss_of_torch.backward()
    assert loss.item() == pytest.approx(loss_of_torch.item(), rel=1e-5)
    np.testing.assert_allclose(hidden.grad.numpy(), x.grad.numpy(), rtol=1e-4, atol=1e-6)
