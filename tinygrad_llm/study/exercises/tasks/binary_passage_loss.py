"""The loss of BPR, the binary passage retriever: vectors whose signs are enough for a search.

Row i of `passages` (N, C) is the right one of row i of `queries` (B, C); all other rows are wrong
for it. Codes are h = tanh(beta·e). The first part is the mean over all B·(N − 1) wrong pairs of
max(0, margin − (h_q·h_right − h_q·h_wrong)); the second is the cross-entropy of scale·e_q·h_p, in
which the query keeps its numbers. Yamada et al. (2021).
"""

import tinygrad_llm as torch
from tinygrad_llm.nn import functional as F


def binary_passage_loss(queries, passages, beta=1.0, margin=2.0, scale=1.0):
    """The sum of both parts, 0-d."""
    # >>> codes, their products (B, N), the margins of the wrong pairs, then the softmax
    h_q, h_p = (beta * queries).tanh(), (beta * passages).tanh()
    scores = h_q @ h_p.T
    right = torch.arange(len(queries))
    wrong = torch.arange(len(passages)) != right.unsqueeze(1)
    own = scores[right, right].unsqueeze(1)
    first = (margin - (own - scores)).clamp(min=0.0)[wrong].mean()
    return first + F.cross_entropy(scale * (queries @ h_p.T), right)
    # <<<
