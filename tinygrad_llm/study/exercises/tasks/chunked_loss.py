"""The loss in chunks: the logits of all tokens never exist at once.

Logits are N × V numbers, often the largest array of a training step. Each chunk of rows gets its
logits, adds the sum of its losses, and lets the logits go; one division at the end makes the mean.
Chunks may hold unequal numbers of targets that count, so a mean of means would be another number.
"""

from tinygrad_llm.nn import functional as F


def chunked_loss(head, hidden, targets, chunk, ignore_index=-100):
    """The mean cross-entropy of targets (N) for the logits head(hidden), hidden (N, C).

    head is called with at most `chunk` rows. Targets equal to ignore_index do not count.
    """
    # >>> cross_entropy with reduction="sum" for each chunk; divide by how many targets count
    sums = []
    for start in range(0, len(targets), chunk):
        rows = slice(start, start + chunk)
        sums.append(
            F.cross_entropy(
                head(hidden[rows]), targets[rows], ignore_index=ignore_index, reduction="sum"
            )
        )
    return sum(sums) / (targets != ignore_index).sum()
    # <<<
