"""A doctor for reinforcement learning: most runs that learn nothing fail without an error.

It looks at every rollout, keeps the last few, and stops the run with the reason. What is looked at
is what goes wrong most often: nothing is ever finished, because no end token was trained or the
prompt has no template; right answers go on until they are cut, so that no end token is ever
rewarded; every answer has the same reward, so that its variance and every advantage
is 0; the answers are empty; the policy has collapsed to one text; nearly every ratio is clipped; it
has moved too far from the reference.
"""

from __future__ import annotations

from collections import deque
from typing import NamedTuple

from ...training.options import OptionError

__all__ = ["Doctor", "RolloutStatistics", "SickRun"]


RARELY, CLIPPED = 0.02, 0.8  # shares of answers, of ratios


class RolloutStatistics(NamedTuple):
    """What a rollout was like.

    reward: the mean; right: the share of right answers; variance: of the rewards; finished: the
    share of answers that ended by themselves; same: the share of questions whose answers all have
    one reward; length: tokens of an answer, the mean; entropy: nats per token; rewarded_ends: how
    many answers with an end token had a reward; cut_right: the share of answers that say what is
    right and were cut before an end token, for which they have no reward
    clipped, kl: of the last update before this rollout
    """

    reward: float
    right: float
    variance: float
    finished: float
    same: float
    length: float
    entropy: float
    rewarded_ends: int
    cut_right: float = 0.0
    clipped: float = 0.0
    kl: float = 0.0

    def numbers(self) -> dict[str, float]:
        """Those that are drawn and kept in the run's metrics."""
        names = (
            "reward", "variance", "right", "finished", "same", "length", "entropy", "clipped", "kl"
        )  # fmt: skip
        return {name: float(getattr(self, name)) for name in names}


class SickRun(OptionError):
    """The run was stopped because it cannot learn, with the reason and what to do."""


class Doctor:
    """Stops a run that has not learned and will not.

    patience: rollouts in a row that must look bad; enough, because one bad rollout is chance
    farthest: nats per token from the reference, above which the run has left it
    template: whether the prompts are made by the tokenizer's chat template, for the reasons
    """

    def __init__(self, patience: int = 10, farthest: float = 2.0, template: bool = True) -> None:
        self.patience, self.farthest, self.template = patience, farthest, template
        self.last: deque[RolloutStatistics] = deque(maxlen=patience)

    def forget(self) -> None:
        """To be called when a run goes back: what was seen does not count."""
        self.last.clear()

    def look(self, statistics: RolloutStatistics) -> None:
        """Takes a rollout into account.

        Raises: SickRun if the last `patience` rollouts have the same disease.
        """
        self.last.append(statistics)
        if len(self.last) < self.patience:
            return
        reason = self.reason()
        if reason is not None:
            raise SickRun(reason)

    def reason(self) -> str | None:
        """What is wrong with the rollouts that were kept, or None."""
        last, n = list(self.last), self.patience
        cut = sum(s.cut_right for s in last) / max(1, len(last))
        if all(s.rewarded_ends == 0 for s in last) and cut > RARELY:
            return (
                f"in {n} rollouts no end token was ever rewarded, although {cut:.0%} of the answers"
                f" were right: those were cut at {last[-1].length:.0f} tokens, and none that ended "
                "was right, so the model cannot learn to stop; check `end`, allow more with "
                "`answer_tokens`, or train on short answers with their end first (finetune "
                "instruct)"
            )
        if all(s.finished == 0.0 for s in last):
            return f"no answer of {n} rollouts was finished: {self._endless(last)}"
        if all(s.finished < RARELY for s in last):
            return (
                f"fewer than {RARELY:.0%} of the answers were finished in {n} rollouts, after "
                f"{last[-1].length:.0f} tokens in the mean: {self._endless(last)}"
            )
        if all(s.length <= 1.0 and s.right == 0.0 for s in last):
            return (
                f"the answers of {n} rollouts were empty, an end token alone: a shorter answer was "
                "rewarded more than a right one; look at the rewards, or take an older checkpoint "
                "and a lower `lr`"
            )
        if all(s.right == 1.0 for s in last):
            return None  # nothing is left to learn, which is not a disease
        if all(s.same == 1.0 for s in last):
            what = "0" if all(s.right == 0.0 for s in last) else f"{last[-1].reward:g}"
            return (
                f"in {n} rollouts all answers to a question had the same reward ({what}), so every "
                f"advantage is 0: {self._no_difference(last)}"
            )
        if all(s.entropy < 1e-3 for s in last) and all(s.right < 1.0 for s in last):
            return (
                f"the entropy was below 0.001 nats per token in {n} rollouts: the model always "
                "writes the same; take a lower `lr` or a higher `temperature`, and an older "
                "checkpoint"
            )
        if all(s.clipped > CLIPPED for s in last):
            return (
                f"the clip acted on more than {CLIPPED:.0%} of the ratios in {n} rollouts, and "
                "what is clipped has no gradient: take a lower `lr` or fewer `updates` with each "
                "rollout"
            )
        if all(s.kl > self.farthest for s in last):
            return (
                f"the model is {last[-1].kl:.2f} nats per token from the reference, more than "
                f"{self.farthest:g} in {n} rollouts: take a larger `beta` or a lower `lr`"
            )
        return None

    def _endless(self, last: list[RolloutStatistics]) -> str:
        if not self.template:
            return (
                "the prompts have no chat template, after which a base rarely ends its answer; "
                "take `style` chat with an instruct model, or train on answers with their ends "
                "first (finetune instruct)"
            )
        return (
            f"they are cut at {last[-1].length:.0f} tokens; allow more with `answer_tokens`, or "
            "train on short answers with their end first (finetune instruct)"
        )

    def _no_difference(self, last: list[RolloutStatistics]) -> str:
        if all(s.reward == 0.0 for s in last):
            return (
                "none is right; take easier questions, a larger `group_size`, or train on some "
                "answers first (finetune instruct)"
            )
        return "take a larger `group_size` or a higher `temperature`"
