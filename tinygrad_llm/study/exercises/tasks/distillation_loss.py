"""Soft distillation: a student's distribution over the next token is drawn to a teacher's.

`student` and `teacher` are logits (N, V) of N tokens. Both are divided by the temperature τ before
softmax. "forward" is KL(P, Q) with the teacher's P and the student's Q, "reverse" is KL(Q, P); the
result is the mean over the tokens, times τ². Only the student learns. Hinton et al. (2015).
"""

import tinygrad_llm as torch


def distillation_loss(student, teacher, temperature=1.0, direction="forward"):
    """The mean distance of N tokens, 0-d."""
    # >>> log_softmax of both at the temperature, the teacher's without a graph; then KL
    log_q = torch.log_softmax(student / temperature, dim=-1)
    log_p = torch.log_softmax(teacher.detach() / temperature, dim=-1)
    p, q = (log_p, log_q) if direction == "forward" else (log_q, log_p)
    return (p.exp() * (p - q)).sum(-1).mean() * temperature**2
    # <<<
