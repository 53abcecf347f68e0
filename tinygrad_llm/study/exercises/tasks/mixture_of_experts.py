"""A mixture of experts: a router sends each token to k of E feed-forward layers.

Most experts do not see a token, so the layer has many parameters and few products. gate_up (E, 2F,
C) and down (E, C, F) hold the matrices of all experts. Shazeer et al. (2017); Fedus et al. (2021).
"""

import tinygrad_llm as torch
from tinygrad_llm import nn


class MixtureOfExperts(nn.Module):
    """x (N, C) -> (N, C), every token through its k best experts."""

    def __init__(self, dim, hidden, n_experts, k):
        super().__init__()
        self.k = k
        self.router = nn.Linear(dim, n_experts, bias=False)
        self.gate_up = nn.Parameter(torch.randn(n_experts, 2 * hidden, dim))
        self.down = nn.Parameter(torch.randn(n_experts, dim, hidden))

    def expert(self, e, x):
        """Expert e of some tokens: down·(silu(gate)·up), (n, C) -> (n, C)."""
        gate, up = torch.chunk(x @ self.gate_up[e].T, 2, dim=-1)
        return (nn.functional.silu(gate) * up) @ self.down[e].T

    def routed(self, x):
        """(weights, chosen), (N, k) each: softmax over all experts, the k largest, sum 1."""
        # >>> torch.softmax, torch.topk, then divide by the sum
        weights, chosen = torch.topk(torch.softmax(self.router(x), dim=-1), self.k, dim=-1)
        return weights / weights.sum(dim=-1, keepdim=True), chosen
        # <<<

    def forward(self, x):
        """The sum of weight·expert(x) over the chosen experts of each token."""
        weights, chosen = self.routed(x)
        y = torch.zeros_like(x)
        # >>> for every expert that somebody chose: its tokens, its weights; index_add returns
        for e in sorted(set(chosen.flatten().tolist())):
            token, place = torch.nonzero(chosen == e, as_tuple=True)
            rows = self.expert(e, x[token]) * weights[token, place].unsqueeze(-1)
            y = y.index_add(0, token, rows)
        # <<<
        return y
