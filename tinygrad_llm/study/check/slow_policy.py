"""Slow twins of the losses of reinforcement learning and distillation, one token at a time.

Shapes: B answers, T tokens, N tokens of a batch, V vocabulary.
"""

from __future__ import annotations

from typing import Any

from ...functions.shape.join import stack
from ...tensor import Tensor

__all__ = ["SlowDistillationLoss", "SlowPolicyLoss", "SlowValueLoss"]


class SlowPolicyLoss:
    """A loop over answers and their tokens."""

    def __init__(self, layer: Any) -> None:
        self.layer = layer

    def ratio(self, log_p: Tensor, old: Tensor) -> Tensor:
        """ρ of one token, or of an answer from the sums, 0-d."""
        return (log_p - old).exp()

    def clipped(self, ratio: Tensor, advantage: Tensor) -> Tensor:
        """The ratio kept between 1 − ε_low and 1 + ε_high; a constant where it was outside."""
        low, high = 1.0 - self.layer.clip_low, 1.0 + self.layer.clip_high
        if ratio.item() > high:
            return ratio.detach() * 0.0 + high
        return ratio.detach() * 0.0 + low if ratio.item() < low else ratio

    def surrogate(self, ratio: Tensor, advantage: Tensor) -> Tensor:
        """The worse of the two products, 0-d."""
        plain = ratio * advantage
        if self.layer.clip_low is None:
            return plain
        limited = self.clipped(ratio, advantage) * advantage
        return self.worse(plain, limited)

    def worse(self, plain: Tensor, limited: Tensor) -> Tensor:
        """The smaller of both, 0-d."""
        return limited if limited.item() < plain.item() else plain

    def token_loss(self, log_p: Tensor, old: Tensor, advantage: Tensor) -> Tensor:
        """The policy's part for one token, 0-d."""
        if self.layer.ratio == "none":
            return -(log_p * advantage)
        ratio = self.ratio(log_p, old)
        if self.layer.cispo:
            constant = ratio.detach().clamp(max=1.0 + self.layer.clip_high)
            return -(constant * advantage * log_p)
        return -self.surrogate(ratio, advantage)

    def distance(self, log_p: Tensor, reference: Tensor) -> Tensor:
        """The estimate of KL(π, π_ref) from one token, 0-d."""
        d = reference - log_p
        return d.exp() - d - 1.0

    def over_tokens(self, rows: list[list[Tensor]]) -> Tensor:
        """One number for the tokens of all answers, 0-d."""
        layer = self.layer
        if layer.average == "token":
            return stack([one for row in rows for one in row]).mean()
        sums = [sum(row[1:], row[0]) for row in rows]
        if layer.average == "answer":
            sums = [total / float(len(row)) for total, row in zip(sums, rows, strict=True)]
        mean = stack(sums).mean()
        return mean / float(layer.longest) if layer.average == "length" else mean

    def __call__(
        self, log_p: Tensor, old: Tensor, advantages: Tensor, reference: Tensor | None = None,
        mask: Tensor | None = None,
    ) -> Tensor:  # fmt: skip
        B, T = log_p.shape
        counts = [
            [t for t in range(T) if mask is None or bool(mask[b, t].item())] for b in range(B)
        ]

        def advantage(b: int, t: int) -> Tensor:
            return advantages[b] if advantages.dim() == 1 else advantages[b, t]

        if self.layer.ratio == "sequence":
            losses = []
            for b in range(B):
                both = [stack([x[b, t] for t in counts[b]]).sum() for x in (log_p, old)]
                losses.append(-self.surrogate(self.ratio(*both), advantages[b]))
            loss = stack(losses).mean()
        else:
            loss = self.over_tokens(
                [
                    [self.token_loss(log_p[b, t], old[b, t], advantage(b, t)) for t in counts[b]]
                    for b in range(B)
                ]
            )
        if self.layer.beta and reference is not None:
            rows = [
                [self.distance(log_p[b, t], reference[b, t]) for t in counts[b]] for b in range(B)
            ]
            loss = loss + self.over_tokens(rows) * self.layer.beta
        return loss


class SlowValueLoss:
    """A loop over answers and their tokens: two errors of each, and the larger square."""

    def __init__(self, layer: Any) -> None:
        self.layer = layer

    def near(self, value: Tensor, old: Tensor) -> Tensor:
        """The value kept within ε of the old one; a constant where it was outside."""
        change = value.item() - old.item()
        if abs(change) <= self.layer.clip:
            return value
        return old.detach() + (self.layer.clip if change > 0 else -self.layer.clip)

    def squares(self, value: Tensor, old: Tensor, returned: Tensor) -> list[Tensor]:
        """The squared errors of one token that are compared, 0-d each."""
        squares = [(value - returned) ** 2]
        if self.layer.clip is not None:
            squares.append((self.near(value, old) - returned) ** 2)
        return squares

    def chosen(self, squares: list[Tensor]) -> Tensor:
        """The largest, 0-d."""
        return max(squares, key=lambda square: square.item())

    def over_tokens(self, losses: list[Tensor]) -> Tensor:
        """One number for all tokens, 0-d."""
        return stack(losses).mean()

    def halved(self, loss: Tensor) -> Tensor:
        """Times ½, so that the gradient is the error."""
        return loss * 0.5

    def __call__(
        self, values: Tensor, old: Tensor, returns: Tensor, mask: Tensor | None = None
    ) -> Tensor:
        B, T = values.shape
        counted = [
            (b, t) for b in range(B) for t in range(T) if mask is None or bool(mask[b, t].item())
        ]
        losses = [
            self.chosen(self.squares(values[at], old[at].detach(), returns[at].detach()))
            for at in counted
        ]
        return self.halved(self.over_tokens(losses))


class SlowDistillationLoss:
    """A loop over tokens: two distributions from their exponentials, and their distance."""

    def __init__(self, layer: Any) -> None:
        self.layer = layer

    def softened(self, logits: Tensor) -> Tensor:
        """The probabilities (V) of logits (V) at the temperature."""
        powers = (logits / self.layer.temperature).exp()
        return powers / powers.sum()

    def distance(self, student: Tensor, teacher: Tensor) -> Tensor:
        """The distance of two distributions (V), 0-d."""
        if self.layer.direction == "forward":
            return (teacher * (teacher / student).log()).sum()
        return (student * (student / teacher).log()).sum()

    def scaled(self, loss: Tensor) -> Tensor:
        """Times τ²."""
        return loss * self.layer.temperature**2

    def over_tokens(self, losses: list[Tensor]) -> Tensor:
        """One number for all tokens, 0-d."""
        return stack(losses).mean()

    def __call__(self, student: Tensor, teacher: Tensor) -> Tensor:
        losses = [
            self.distance(self.softened(student[n]), self.softened(teacher[n].detach()))
            for n in range(len(student))
        ]
        return self.scaled(self.over_tokens(losses))
