"""Sparse attention: an indexer scores all keys cheaply, attention reads the k best of them alone.

The choice has no gradient: attention's gradient reaches the chosen keys only, and the indexer
learns to agree with attention's weights, by KL(weights ‖ softmax(scores)). DeepSeek-AI (2025).
"""

import tinygrad_llm as torch
import tinygrad_llm.nn.functional as F


def index_scores(q, k, w):
    """Σ over heads of w·relu(q·k)/√(D·H): q (B, H, T, D), k (B, S, D), w (B, T, H) -> (B, T, S)."""
    # >>> one key for all heads: k.unsqueeze(1); relu before the weights
    h, d = q.shape[1], q.shape[3]
    agreement = torch.relu(q @ k.unsqueeze(1).transpose(2, 3))  # (B, H, T, S)
    return (w.transpose(1, 2).unsqueeze(-1) * agreement).sum(dim=1) / (d * h) ** 0.5
    # <<<


def chosen(scores, k):
    """bool (B, T, T): the k largest scores of each query among the keys up to its own."""
    # >>> hide the future, topk, scatter; the first queries have fewer than k
    t = scores.shape[1]
    causal = torch.tril(torch.ones(t, t)) > 0
    best = torch.topk(scores.masked_fill(~causal, float("-inf")), min(k, t), dim=-1)[1]
    return (torch.zeros(scores.shape).scatter(-1, best, 1.0) > 0) & causal
    # <<<


def index_loss(scores, weights, seen):
    """KL(p ‖ softmax of the scores that are seen), the mean over B·T queries.

    scores (B, T, S), weights (B, H, T, S) of attention, p their mean over heads, seen bool
    (B, T, S).
    """
    # >>> no gradient to the weights; p is 0 where nothing is seen, and 0·log 0 is 0
    p = weights.detach().mean(dim=1)  # (B, T, S)
    log_q = F.log_softmax(scores.masked_fill(~seen, float("-inf")), dim=-1).masked_fill(~seen, 0.0)
    log_p = torch.log(p.masked_fill(p == 0, 1.0))
    return (p * (log_p - log_q)).sum() / (p.shape[0] * p.shape[1])
    # <<<
