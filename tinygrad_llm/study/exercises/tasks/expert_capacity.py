"""How DeepSeek-V3 chooses experts, and what happens if an expert has no room for all.

chosen (N, k): the experts of each token, its best first. An expert with a capacity takes so many
tokens and no more: first choices before second ones, earlier tokens before later ones.
"""

import tinygrad_llm as torch


def routed(scores, correction, k):
    """(weights, chosen), (N, k) each, from scores (N, E).

    p = σ(scores). The k experts with the largest p + correction are chosen; their weights are p
    without the correction, divided by their sum.
    """
    # >>> torch.topk chooses, torch.gather picks p along dimension 1
    p = torch.sigmoid(scores)
    chosen = torch.topk(p + correction, k, dim=-1)[1]
    weights = torch.gather(p, 1, chosen)
    return weights / weights.sum(dim=-1, keepdim=True), chosen
    # <<<


def with_room(chosen, n_experts, capacity):
    """Which choices find room: chosen (N, k), a list of lists -> a list of lists of bools."""
    room = [capacity] * n_experts
    kept = [[False] * len(row) for row in chosen]
    # >>> two loops: which is the outer one?
    for i in range(len(chosen[0])):
        for n, row in enumerate(chosen):
            if room[row[i]] > 0:
                room[row[i]] -= 1
                kept[n][i] = True
    # <<<
    return kept


def z_loss(scores):
    """The mean over tokens of the square of log Σ exp(score): scores (N, E) -> one number."""
    # >>> torch.logsumexp over the experts
    return (torch.logsumexp(scores, dim=-1) ** 2).mean()
    # <<<
