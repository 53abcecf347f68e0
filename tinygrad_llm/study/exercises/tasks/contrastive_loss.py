"""The contrastive loss of sentence embeddings: find each text's partner in the batch.

Row i of `anchors` (B, C) belongs to row i of `positives` (B, C); the other rows are the wrong
answers, and so are all rows of `negatives` (M, C), if there are any. The score of two vectors is
the cosine of their angle, divided by the temperature. The loss is the mean of −log softmax(scores)
at the right answer. van den Oord et al. (2018); Gao, Yao, Chen (2021).
"""

import tinygrad_llm as torch
from tinygrad_llm.nn import functional as F


def contrastive_loss(anchors, positives, negatives=None, temperature=0.05):
    """The mean loss of the B pairs, 0-d."""
    # >>> candidates (B + M, C), scores (B, B + M), then the cross-entropy with targets 0 … B − 1
    candidates = positives if negatives is None else torch.cat([positives, negatives])
    a = anchors / anchors.norm(dim=-1, keepdim=True)
    c = candidates / candidates.norm(dim=-1, keepdim=True)
    scores = a @ c.T / temperature
    return F.cross_entropy(scores, torch.arange(len(anchors)))
    # <<<
