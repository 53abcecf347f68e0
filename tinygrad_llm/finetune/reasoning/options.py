"""The options of reinforcement learning: of the trainer, and of finetune grpo."""

from __future__ import annotations

import dataclasses

from ...layers.distillation import DIRECTIONS
from ...layers.policy import METHODS
from ...training.devices import MachineOptions
from ...training.options import (
    AT_LEAST_1,
    NOT_NEGATIVE,
    POSITIVE,
    OptimizerOptions,
    OptionError,
    Rule,
    TrainingOptions,
    again,
    option,
)
from ..options import AdaptationOptions, ClassifyOptions, InstructOptions, TuningOptions

__all__ = ["DistillOptions", "GRPOOptions", "KEPT", "KINDS", "PolicyOptions", "QuestionOptions"]

KINDS = ("hard", "soft", "on-policy")  # of distillation
KEPT = ("right", "finished", "all")  # answers of a teacher

_SHARE = Rule(lambda v: 0 <= v <= 1, "between 0 and 1")
_METHODS = tuple(METHODS)


@dataclasses.dataclass
class PolicyOptions(TuningOptions):
    """The options of grpo_trainer."""

    sample_every: int | None = again(TrainingOptions, "sample_every", None, shown=False)
    batch_size: int = again(OptimizerOptions, "batch_size", 8, help="Questions in a rollout.")
    weight_decay: float = again(OptimizerOptions, "weight_decay", 0.0)
    method: str = option(
        "grpo", f"{', '.join(_METHODS)}.", Rule(lambda v: v in _METHODS, ", ".join(_METHODS)),
        "adaptation",
    )  # fmt: skip
    group_size: int = option(
        8, "Answers to each question.", Rule(lambda v: 2 <= v <= 1024, "between 2 and 1,024"),
        "adaptation",
    )  # fmt: skip
    updates: int = option(1, "Steps with each rollout.", AT_LEAST_1, "adaptation")
    temperature: float = option(1.0, "Of the answers that are drawn.", POSITIVE, "adaptation")
    answer_tokens: int = option(64, "Tokens of an answer at most.", AT_LEAST_1, "adaptation")
    beta: float = option(0.0, "How close the model stays to the reference.", NOT_NEGATIVE,
                         "adaptation")  # fmt: skip
    clip_low: float | None = option(
        None, "Smallest ratio, as 1 - clip_low.", NOT_NEGATIVE, "adaptation",
        about_default="the method's",
    )  # fmt: skip
    clip_high: float | None = option(
        None, "Largest ratio, as 1 + clip_high.", NOT_NEGATIVE, "adaptation",
        about_default="the method's",
    )  # fmt: skip
    gamma: float = option(1.0, "ppo: what a reward one token later is worth.", _SHARE, "adaptation")
    lam: float = option(
        0.95, "ppo: 0 trusts the values, 1 the rewards (GAE).", _SHARE, "adaptation"
    )
    value_weight: float = option(
        0.5, "ppo: of the values' loss beside the policy's.", NOT_NEGATIVE, "adaptation"
    )
    value_clip: float | None = option(
        0.2, "ppo: how far a value moves with one rollout.", NOT_NEGATIVE, "adaptation"
    )
    calculator: bool = option(
        False, "Answers may call it: after <<12*3= it writes 36>>.", None, "adaptation"
    )
    boxed: bool = option(False, "Answers stand in \\boxed{}.", None, "adaptation")
    form_weight: float = option(
        0.0, "Reward of a finished answer of the right form; a right one has 1.", NOT_NEGATIVE,
        "adaptation",
    )  # fmt: skip
    patience: int = option(
        20, "Rollouts without hope after which the run stops.", AT_LEAST_1, "report",
        may_change=True,
    )  # fmt: skip

    def loss_changes(self) -> dict[str, object]:
        """The options of PolicyLoss that were given."""
        given = {"beta": self.beta, "clip_low": self.clip_low, "clip_high": self.clip_high}
        return {name: value for name, value in given.items() if value is not None}


@dataclasses.dataclass
class QuestionOptions(AdaptationOptions, MachineOptions):
    """What runs on questions with one right answer share: the questions, and a small model."""

    style: str | None = again(
        InstructOptions, "style", None, help="Style of prompts: chat, alpaca, phi3 or plain.",
        about_default="chat if the base has a chat template, otherwise plain",
    )  # fmt: skip
    questions: int = option(200, "Questions of a task to make.", AT_LEAST_1, "data")
    test_questions: int = option(
        200, "Other questions for the test.", AT_LEAST_1, "data", may_change=True
    )
    start_steps: int = option(
        100, "Without a base: steps of a start on some answers.", AT_LEAST_1, "model"
    )
    start_share: float = option(
        0.5, "Without a base: the share of questions for that start.",
        Rule(lambda v: 0 < v <= 1, "above 0 and at most 1"), "model",
    )  # fmt: skip
    emb_dim: int = again(ClassifyOptions, "emb_dim", 64)
    n_heads: int = again(ClassifyOptions, "n_heads", 4)
    n_layers: int = again(ClassifyOptions, "n_layers", 2)
    show: int = option(5, "Test answers to show.", NOT_NEGATIVE, "report", may_change=True)

    def check(self) -> None:
        """Also: heads of whole channels, and LoRA only of a base.

        Raises: OptionError for the first value that is not allowed.
        """
        super().check()
        if self.base is None and self.emb_dim % self.n_heads:
            raise OptionError(f"`emb_dim` {self.emb_dim} is not a multiple of `n_heads`")
        if self.base is None and (self.lora or self.adapter or self.quantize):
            raise OptionError("`lora` adapts a base: name one with `base`")


@dataclasses.dataclass
class GRPOOptions(QuestionOptions, PolicyOptions):
    """The options of finetune grpo."""

    batch_size: int | None = again(  # type: ignore[assignment]
        PolicyOptions, "batch_size", None, about_default="8, without a base all up to 81"
    )
    temperature: float | None = again(  # type: ignore[assignment]
        PolicyOptions, "temperature", None, about_default="1, without a base 1.3"
    )
    answer_tokens: int | None = again(  # type: ignore[assignment]
        PolicyOptions, "answer_tokens", None,
        about_default="64, without a base those of the longest answer and 2",
    )  # fmt: skip


@dataclasses.dataclass
class DistillOptions(QuestionOptions, TuningOptions):
    """The options of finetune distill."""

    sample_every: int | None = again(TrainingOptions, "sample_every", None, shown=False)
    batch_size: int = again(OptimizerOptions, "batch_size", 16)
    weight_decay: float = again(OptimizerOptions, "weight_decay", 0.0)
    teacher: str | None = option(
        None, "Whose answers are learned: a run, or published weights.", None, "data",
        about_default="required",
    )  # fmt: skip
    kind: str = option(
        "hard", "hard: its answers; soft: its probabilities; on-policy: of the student's answers.",
        Rule(lambda v: v in KINDS, ", ".join(KINDS)), "adaptation",
    )  # fmt: skip
    direction: str = option(
        "forward", "Of KL: forward or reverse.",
        Rule(lambda v: v in DIRECTIONS, ", ".join(DIRECTIONS)), "adaptation",
    )  # fmt: skip
    softness: float = option(1.0, "Of KL: the temperature of both.", POSITIVE, "adaptation")
    own_share: float = option(
        0.5, "on-policy: the share of batches of the student's answers, not the teacher's.",
        Rule(lambda v: 0 < v <= 1, "above 0 and at most 1"), "adaptation",
    )  # fmt: skip
    samples: int = option(1, "Answers of the teacher to each question.", AT_LEAST_1, "data")
    temperature: float = again(PolicyOptions, "temperature", 0.7)
    learn: str = option(
        "right", "Which answers are learned: right, finished or all.",
        Rule(lambda v: v in KEPT, ", ".join(KEPT)), "data",
    )  # fmt: skip
    longest: int | None = option(
        None, "Longest answer to learn, in tokens.", AT_LEAST_1, "data", about_default="all"
    )
    answer_tokens: int = again(PolicyOptions, "answer_tokens", 64)
    boxed: bool = again(PolicyOptions, "boxed", False)
