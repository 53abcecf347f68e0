"""Named mistakes of the losses of reinforcement learning and distillation."""

from __future__ import annotations

from typing import Any

from .layer_mistake import wrong_layer


def _better(self: Any, plain: Any, limited: Any) -> Any:
    return limited if limited.item() > plain.item() else plain


def _always_clipped(self: Any, plain: Any, limited: Any) -> Any:
    return limited


def _without_clip(self: Any, ratio: Any, advantage: Any) -> Any:
    return ratio * advantage


wrong_layer(
    "PolicyLoss",
    ("the sign", "The loss is +ρ·A: it is minimised, so a good answer would become less likely.",
     {"token_loss": lambda self, log_p, old, advantage: self.ratio(log_p, old) * advantage}),
    ("not clipped", "The ratio is not clipped: one batch can move the policy as far as it likes.",
     {"surrogate": _without_clip}),
    ("the better of the two", "max(ρ·A, clip(ρ)·A): the minimum is taken, so that the clip takes "
     "gradients away and never hides that a step went wrong.", {"worse": _better}),
    ("the clip without the minimum", "clip(ρ)·A everywhere: a bad answer that became more likely "
     "would have no gradient that corrects it.", {"worse": _always_clipped}),
    ("the ratio upside down", "π_old/π: the ratio is that of the model now to the model that drew "
     "the answer.", {"ratio": lambda self, log_p, old: (old - log_p).exp()}),
    ("the plain difference as distance", "log π − log π_ref of a drawn token: its mean is the "
     "distance too, but a single one can be negative; exp(d) − d − 1 cannot.",
     {"distance": lambda self, log_p, reference: log_p - reference}),
)  # fmt: skip
wrong_layer(
    "ValueLoss",
    ("the smaller of the two", "min(e², e'²): the larger error counts, so that a value that moved "
     "too far from the old one has no gradient that takes it further.",
     {"chosen": lambda self, squares: min(squares, key=lambda square: square.item())}),
    ("only the clipped error", "A value that moved too far would have no gradient even where it "
     "moved away from R: the larger of both errors counts.",
     {"squares": lambda self, value, old, returned: [(
         (value if self.layer.clip is None else self.near(value, old)) - returned) ** 2]}),
    ("not clipped", "Only the plain error: one rollout can move the values as far as it likes.",
     {"squares": lambda self, value, old, returned: [(value - returned) ** 2]}),
    ("the half forgotten", "Without ½ the gradient is twice the error.",
     {"halved": lambda self, loss: loss}),
)  # fmt: skip
wrong_layer(
    "DistillationLoss",
    ("directions exchanged", "KL(Q, P) where KL(P, Q) was asked for, or the reverse.",
     {"distance": lambda self, student, teacher: (
         (student * (student / teacher).log()).sum() if self.layer.direction == "forward"
         else (teacher * (teacher / student).log()).sum())}),
    ("τ² forgotten", "Without the factor τ² the gradients shrink with the temperature, beside "
     "those of hard answers.", {"scaled": lambda self, loss: loss}),
    ("temperature as a factor", "The logits are multiplied by τ: they are divided, so that a high "
     "temperature makes the distributions flat.",
     {"softened": lambda self, logits: (logits * self.layer.temperature).softmax(-1)}),
    ("the sum of the tokens", "The distances of the tokens are summed: it is their mean, so that a "
     "long answer has no larger learning rate.",
     {"over_tokens": lambda self, losses: sum(losses[1:], losses[0])}),
)  # fmt: skip
