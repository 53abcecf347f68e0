"""One policy-gradient loss with options: REINFORCE, RLOO, PPO, GRPO, DAPO, CISPO.

Shapes: B answers, T tokens of each.
"""

from __future__ import annotations

import math
from typing import NamedTuple

from ..functions.selection import where
from ..nn.module import Module
from ..tensor import Tensor

__all__ = ["AVERAGES", "METHODS", "RATIOS", "PolicyLoss", "PolicyOutput", "policy_loss_of"]

RATIOS = ("token", "sequence", "none")
AVERAGES = ("answer", "token", "sum", "length")


class PolicyOutput(NamedTuple):
    """loss: 0-d, with its graph; the others are numbers without one.

    clipped: the share of ratios on which the clip acts, so that they have no gradient (of CISPO a
    smaller one); kl: the mean distance to the reference per token in nats, 0 without one; ratio:
    the mean ratio
    """

    loss: Tensor
    clipped: float
    kl: float
    ratio: float


class PolicyLoss(Module):
    """−A·log π of answers that the model drew: tokens of good answers become more likely.

        ρ = π(token)/π_old(token) = exp(log π − log π_old)      A: the advantage of the answer
        L = −min(ρ·A, clip(ρ, 1 − ε_low, 1 + ε_high)·A) + β·(exp(d) − d − 1)
        d = log π_ref − log π

    The minimum takes the clipped product only where that is the worse one: a good answer whose
    ratio rose above 1 + ε_high and a bad one whose ratio fell below 1 − ε_low have moved enough.
    Backward, for one token: the clipped product is constant, and ∂ρ/∂log π = ρ, so
        ∂L/∂log π = −ρ·A where the clip does not act, 0 where it does;   + β·(1 − exp(d))
    At ρ = 1 that is REINFORCE's −A. The last term of L estimates the distance KL(π, π_ref): it is
    never negative, and its mean is that distance.

    ratio: "token", a ratio for each token (PPO, GRPO); "sequence", one for the whole answer, from
        the sums of its log-probabilities (RLOO); "none": L = −A·log π (REINFORCE)
    clip_low, clip_high: ε_low and ε_high; None for clip_high takes clip_low (DAPO has a larger
        one), None for both does not clip
    cispo: L = −min(ρ, 1 + ε_high)·A·log π with the ratio as a constant, so that every token has a
        gradient
    beta: β, how strongly the model is held to the reference; 0 needs none
    average: over an answer's tokens and then over answers ("answer", GRPO); over all tokens
        ("token", DAPO: a long answer counts more); the sum over an answer's tokens, its mean over
        answers ("sum"); that sum divided by a constant `longest` ("length", Dr. GRPO)
    Raises: ValueError for options that are not allowed or do not go together.
    Sources: Williams (1992); Schulman et al. (2017), "PPO", equation 7; Ahmadian et al. (2024),
    "Back to basics" (RLOO); Shao et al. (2024), "DeepSeekMath", equations 3 and 4 (GRPO); Yu et al.
    (2025), "DAPO"; Liu et al. (2025), "Dr. GRPO"; MiniMax (2025), "M1" (CISPO).
    """

    def __init__(
        self, ratio: str = "token", clip_low: float | None = 0.2, clip_high: float | None = None,
        cispo: bool = False, beta: float = 0.0, average: str = "answer", longest: int | None = None,
    ) -> None:  # fmt: skip
        super().__init__()
        for name, value, known in (("ratio", ratio, RATIOS), ("average", average, AVERAGES)):
            if value not in known:
                raise ValueError(f"{name} must be one of {', '.join(known)}, got {value!r}")
        for name, number in (("clip_low", clip_low), ("clip_high", clip_high), ("beta", beta)):
            if number is not None and not 0.0 <= number < math.inf:
                raise ValueError(f"{name} must be 0 or more, got {number!r}")
        if (average == "length") != (longest is not None):
            raise ValueError('`longest` goes with average="length", and with no other')
        if longest is not None and longest < 1:
            raise ValueError(f"longest must be at least 1, got {longest}")
        self.ratio, self.average, self.longest, self.cispo = ratio, average, longest, bool(cispo)
        self.clip_low = clip_low
        self.clip_high = clip_low if clip_high is None else clip_high
        self.beta = float(beta)
        if self.cispo and (ratio != "token" or self.clip_high is None):
            raise ValueError('cispo needs ratio="token" and a clip')

    def forward(
        self, log_p: Tensor, old: Tensor, advantages: Tensor, reference: Tensor | None = None,
        mask: Tensor | None = None,
    ) -> Tensor:  # fmt: skip
        """The loss, 0-d; see `output` for the arguments."""
        return self.output(log_p, old, advantages, reference, mask).loss

    def output(
        self, log_p: Tensor, old: Tensor, advantages: Tensor, reference: Tensor | None = None,
        mask: Tensor | None = None,
    ) -> PolicyOutput:  # fmt: skip
        """The loss with its statistics.

        log_p (B, T): log π of each token that was drawn; old (B, T): when it was drawn, and
        reference (B, T): of the reference, both without a graph; advantages (B), or (B, T) as PPO
        has them; mask (B, T) bool: the tokens that count, None for all
        Raises: ValueError for shapes that do not fit, an answer without tokens, and for a β without
        a reference.
        """
        advantages = self._checked(log_p, old, advantages, reference, mask)
        counts = mask if mask is not None else old == old  # (B, T)
        log_ratio = where(counts, log_p - old.detach(), 0.0)  # (B, T)
        if self.ratio == "sequence":
            log_ratio = log_ratio.sum(1, keepdim=True)  # (B, T) -> (B, 1)
        ratio = log_ratio.exp()
        policy, acts = self._policy(log_p, ratio, advantages)  # (B, T) or (B, 1)
        if self.ratio == "sequence":
            loss = policy.mean()
            clipped = float(acts.float().mean().item())
        else:
            loss = self._mean(policy, counts)
            clipped = float(acts[counts].float().mean().item())
        kl = 0.0
        if self.beta and reference is not None:
            d = where(counts, reference.detach() - log_p, 0.0)  # (B, T)
            distance = d.exp() - d - 1.0
            loss = loss + self._mean(distance, counts) * self.beta
            kl = float(distance.detach()[counts].mean().item())
        shown = ratio.detach() if self.ratio == "sequence" else ratio.detach()[counts]
        return PolicyOutput(loss, clipped, kl, float(shown.mean().item()))

    def _checked(
        self, log_p: Tensor, old: Tensor, advantages: Tensor, reference: Tensor | None,
        mask: Tensor | None,
    ) -> Tensor:  # fmt: skip
        """The advantages as (B, 1) or (B, T).

        Raises: as `output`.
        """
        if log_p.dim() != 2:
            raise ValueError(f"PolicyLoss: log_p must be (B, T), got {tuple(log_p.shape)}")
        for name, x in (("old", old), ("reference", reference), ("mask", mask)):
            if x is not None and x.shape != log_p.shape:
                raise ValueError(
                    f"PolicyLoss: {name} must have the shape {tuple(log_p.shape)} of log_p, got "
                    f"{tuple(x.shape)}"
                )
        if self.beta and reference is None:
            raise ValueError(f"PolicyLoss: beta={self.beta:g} needs a reference")
        if mask is not None and not bool(mask.any(1).all().item()):
            raise ValueError("PolicyLoss: an answer has no token that counts: leave it out")
        if advantages.shape == log_p.shape[:1]:
            return advantages.detach().unsqueeze(1)  # (B) -> (B, 1)
        if advantages.shape == log_p.shape and self.ratio != "sequence":
            return advantages.detach()
        raise ValueError(
            f"PolicyLoss: advantages must be (B), or (B, T) with a ratio for each token, got "
            f"{tuple(advantages.shape)} for log_p {tuple(log_p.shape)}"
        )

    def _policy(self, log_p: Tensor, ratio: Tensor, advantages: Tensor) -> tuple[Tensor, Tensor]:
        """(the policy's part of L, where the clip acts), both shaped as the ratio."""
        never = ratio.detach() != ratio.detach()
        if self.ratio == "none":
            return -(log_p * advantages), never
        if self.clip_low is None or self.clip_high is None:
            return -(ratio * advantages), never
        high, low = 1.0 + self.clip_high, 1.0 - self.clip_low
        if self.cispo:
            constant = ratio.detach()
            return -(constant.clamp(max=high) * advantages * log_p), constant > high
        acts = where(advantages > 0, ratio.detach() > high, ratio.detach() < low)
        limited = where(acts, ratio.detach().clamp(low, high), ratio)
        return -(limited * advantages), acts & (advantages != 0)

    def _mean(self, x: Tensor, counts: Tensor) -> Tensor:
        """One number from x (B, T), of which only the tokens that count are looked at."""
        x = where(counts, x, 0.0)
        n = counts.sum(1).to(x.dtype)  # (B, T) -> (B)
        if self.average == "answer":
            return (x.sum(1) / n).mean()
        if self.average == "token":
            return x.sum() / n.sum()
        total = x.sum(1).mean()
        return total if self.longest is None else total / float(self.longest)

    def extra_repr(self) -> str:
        """The options, for printing."""
        return (
            f"ratio={self.ratio!r}, clip_low={self.clip_low}, clip_high={self.clip_high}, "
            f"cispo={self.cispo}, beta={self.beta}, average={self.average!r}"
        )


# The published methods as options of the loss; their advantages are in finetune.reasoning.
METHODS: dict[str, dict[str, object]] = {
    "reinforce": {"ratio": "none", "average": "sum"},
    "rloo": {"ratio": "sequence", "average": "sum"},
    "ppo": {"average": "token"},  # its advantages are GAE's, of values that ValueLoss trains
    "grpo": {},
    "gdpo": {},
    "dr_grpo": {"average": "length"},
    "dapo": {"clip_high": 0.28, "average": "token"},
    "cispo": {"cispo": True, "clip_high": 4.0, "average": "token"},
}


def policy_loss_of(method: str, longest: int | None = None, **changes: object) -> PolicyLoss:
    """The loss of a published method; changes: options of PolicyLoss that differ from it.

    longest: tokens of the longest answer that is drawn, which dr_grpo needs
    Raises: ValueError for an unknown method.
    """
    if method not in METHODS:
        raise ValueError(f"method must be one of {', '.join(METHODS)}, got {method!r}")
    options: dict[str, object] = {**METHODS[method], **changes}
    if options.get("average") == "length":
        options["longest"] = longest
    return PolicyLoss(**options)  # type: ignore[arg-type]
