"""Cross-entropy from its definition: minus the log-probability of the target, the mean of it.

logits (N, C) and targets (N). A target of −100 is ignored: it counts neither in
the sum nor in its divisor.
"""

import tinygrad_llm as torch


def cross_entropy(logits, targets, ignore_index=-100):
    """The mean of −log softmax(logits)[target] over the targets that are not ignored."""
    # >>> torch.log_softmax, then pick each row's target
    kept = targets != ignore_index
    log_p = torch.log_softmax(logits[kept], dim=-1)
    picked = log_p.gather(1, targets[kept].unsqueeze(1))
    return -picked.mean()
    # <<<
