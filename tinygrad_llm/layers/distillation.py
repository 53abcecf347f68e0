"""The loss of soft distillation: a student's distribution is drawn to a teacher's.

Shapes: N tokens, V vocabulary.
"""

from __future__ import annotations

import math

from ..functions.softmax import log_softmax
from ..nn.module import Module
from ..tensor import Tensor

__all__ = ["DIRECTIONS", "DistillationLoss"]

DIRECTIONS = ("forward", "reverse")


class DistillationLoss(Module):
    """τ²·KL between teacher P and student Q, mean over tokens, both softened by a temperature τ.

        P = softmax(teacher/τ), Q = softmax(student/τ)
        forward: KL(P, Q) = Σ P·(log P − log Q)        reverse: KL(Q, P) = Σ Q·(log Q − log P)

    Forward makes the student cover everything the teacher may say; reverse lets it keep to what it
    can say well. Backward, with z the student's logits, for one of N tokens:
        forward: ∂L/∂z = τ·(Q − P)/N           reverse: ∂L/∂z = τ·Q·(log Q − log P − KL(Q, P))/N
    A temperature divides these by τ², once through z/τ and once because softened distributions
    differ less: the factor τ² keeps the gradients as large as those of hard answers.

    temperature: τ, above 0; direction: "forward" or "reverse"
    Raises: ValueError for another temperature or direction.
    Sources: Hinton, Vinyals, Dean (2015), "Distilling the knowledge in a neural network", section
    2; Gu et al. (2024), "MiniLLM" (reverse).
    """

    def __init__(self, temperature: float = 1.0, direction: str = "forward") -> None:
        super().__init__()
        if not 0.0 < temperature < math.inf:
            raise ValueError(f"DistillationLoss: temperature must be above 0, got {temperature!r}")
        if direction not in DIRECTIONS:
            raise ValueError(
                f"DistillationLoss: direction must be forward or reverse, got {direction!r}"
            )
        self.temperature, self.direction = float(temperature), direction

    def forward(self, student: Tensor, teacher: Tensor) -> Tensor:
        """The mean over N tokens in nats, 0-d.

        student, teacher: logits (N, V); only the student's get a gradient
        Raises: ValueError if the shapes differ or there is no token.
        """
        if student.dim() != 2 or student.shape != teacher.shape or not student.shape[0]:
            raise ValueError(
                "DistillationLoss: logits (N, V) of student and teacher were expected, got "
                f"{tuple(student.shape)} and {tuple(teacher.shape)}"
            )
        log_q = log_softmax(student / self.temperature, dim=-1)  # (N, V)
        log_p = log_softmax(teacher.detach() / self.temperature, dim=-1)  # (N, V)
        if self.direction == "forward":
            terms = log_p.exp() * (log_p - log_q)
        else:
            terms = log_q.exp() * (log_q - log_p)
        return terms.sum(1).mean() * self.temperature**2  # (N, V) -> (N) -> ()

    def extra_repr(self) -> str:
        """The options, for printing."""
        return f"temperature={self.temperature}, direction={self.direction!r}"
