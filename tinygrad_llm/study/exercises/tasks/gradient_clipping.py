"""Gradient clipping by norm: if all gradients together are longer than allowed, shrink them all.

The norm is over every element of every parameter, as if they were one vector; all are multiplied
by the same number, so the direction stays.
"""


def clip_grad_norm(parameters, max_norm):
    """Scale every .grad in place if their norm is above max_norm; returns the norm before."""
    # >>> skip parameters without a gradient; change p.grad.array in place
    grads = [p.grad.array for p in parameters if p.grad is not None]
    norm = sum(float((g * g).sum()) for g in grads) ** 0.5
    if norm > max_norm:
        for g in grads:
            g *= max_norm / norm
    return norm
    # <<<
