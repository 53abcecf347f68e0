"""The worked examples of optimizers and schedules: how each one descends into a valley."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from ...optim import SGD, MuonWithAdamW, Optimizer
from ...optim import lr_scheduler as schedules
from ...optim.swa_utils import SWALR
from ...tensor import Tensor
from ..draw.descent import VIEW, Descent, draw_descent

__all__ = ["SCHEDULES", "ScheduleExample", "drawn_descent"]

STEPS = 40
# Optimizers whose example has another learning rate than 0.1, other options or other parameters.
OPTIONS: Mapping[str, dict[str, Any]] = {
    "SGD": {"momentum": 0.6},
    "Adagrad": {"lr": 0.4},
    "AdamWScheduleFree": {"lr": 0.3},
    "Lion": {"lr": 0.06},
    "MuonWithAdamW": {"lr": 0.3},
}
SHAPES: Mapping[str, tuple[tuple[int, ...], ...]] = {
    "Muon": ((1, 2),), "Adafactor": ((1, 2),), "MuonWithAdamW": ((1, 1), (1,)),
}  # fmt: skip


@dataclass(frozen=True)
class ScheduleExample:
    """How a schedule is made for the example.

    options     its arguments behind the optimizer; one may be a list of examples
    lr          SGD's learning rate; momentum: SGD's
    """

    kind: type[Any]
    options: Mapping[str, Any] = field(default_factory=dict)
    lr: float = 0.1
    momentum: float = 0.0

    def make(self, optimizer: Optimizer) -> Any:
        """The schedule for this optimizer."""
        options = {
            name: [one.make(optimizer) for one in value] if _examples(value) else value
            for name, value in self.options.items()
        }
        if self.kind is schedules.ChainedScheduler:
            return self.kind(**options, optimizer=optimizer)
        return self.kind(optimizer, **options)

    def __str__(self) -> str:
        parts = [f"{name}={_shown(value)}" for name, value in self.options.items()]
        return f"{self.kind.__name__}({', '.join(['optimizer', *parts])})"


def _examples(value: Any) -> bool:
    return isinstance(value, list) and isinstance(value[0], ScheduleExample)


def _shown(value: Any) -> str:
    if _examples(value):
        return f"[{', '.join(map(str, value))}]"
    return value.__name__ if callable(value) else repr(value)


def half_in_ten_steps(step: int) -> float:
    """1 at step 0, ½ at step 10, ¼ at step 20."""
    return float(0.5 ** (step / 10))


def less_from_step_20(step: int) -> float:
    """1, and 0.9 from step 20 on."""
    return 0.9 if step >= 20 else 1.0


_WARMUP = ScheduleExample(schedules.LinearLR, {"start_factor": 0.2, "total_iters": 8})
SCHEDULES: Mapping[str, ScheduleExample] = {
    example.kind.__name__: example
    for example in (
        ScheduleExample(
            schedules.ChainedScheduler,
            {"schedulers": [_WARMUP, ScheduleExample(schedules.ExponentialLR, {"gamma": 0.95})]},
        ),
        ScheduleExample(schedules.ConstantLR, {"factor": 0.25, "total_iters": 10}),
        ScheduleExample(schedules.CosineAnnealingLR, {"T_max": 40}, lr=0.16),
        ScheduleExample(schedules.CosineAnnealingWarmRestarts, {"T_0": 10, "T_mult": 2}, lr=0.16),
        ScheduleExample(schedules.ExponentialLR, {"gamma": 0.95}, lr=0.16),
        ScheduleExample(schedules.LambdaLR, {"lr_lambda": half_in_ten_steps}, lr=0.16),
        ScheduleExample(schedules.LinearLR, {"start_factor": 0.2, "total_iters": 20}, lr=0.15),
        ScheduleExample(schedules.MultiStepLR, {"milestones": [8, 24], "gamma": 0.4}, lr=0.16),
        ScheduleExample(schedules.MultiplicativeLR, {"lr_lambda": less_from_step_20}, lr=0.16),
        ScheduleExample(schedules.OneCycleLR, {"max_lr": 0.08, "total_steps": 41}, momentum=0.9),
        ScheduleExample(schedules.PolynomialLR, {"total_iters": 40, "power": 2.0}, lr=0.16),
        ScheduleExample(schedules.ReduceLROnPlateau, {"factor": 0.5, "patience": 2,
                        "threshold": 0.15}, lr=0.165),
        ScheduleExample(SWALR, {"swa_lr": 0.05, "anneal_epochs": 20}, lr=0.16),
        ScheduleExample(
            schedules.SequentialLR,
            {"schedulers": [_WARMUP, ScheduleExample(schedules.CosineAnnealingLR, {"T_max": 32})],
             "milestones": [8]}, lr=0.15,
        ),
        ScheduleExample(schedules.StepLR, {"step_size": 10, "gamma": 0.5}, lr=0.16),
        ScheduleExample(schedules.WarmupCosineLR, {"warmup_steps": 8, "total_steps": 40}, lr=0.15),
        ScheduleExample(schedules.WarmupInverseSqrtLR, {"warmup_steps": 8}, lr=0.15),
        ScheduleExample(schedules.WarmupStableDecayLR,
                        {"warmup_steps": 6, "total_steps": 40, "decay_steps": 10}, lr=0.15),
    )
}  # fmt: skip


def drawn_descent(kind: type[Any]) -> Descent:
    """An optimizer's or a schedule's descent into the valley, to step through.

    kind    one of the optimizers that explain knows, or one of SCHEDULES; a class of yours, which
            must be an Optimizer that takes (params, lr=...)
    """
    name = kind.__name__
    if name in SCHEDULES and SCHEDULES[name].kind is kind:
        example = SCHEDULES[name]
        return draw_descent(
            lambda params: SGD(params, lr=example.lr, momentum=example.momentum),
            example.make, steps=STEPS, view=VIEW, title=f"{example}, step by step",
        )  # fmt: skip
    options = {"lr": 0.1, **OPTIONS.get(name, {})}
    shapes = SHAPES.get(name, ((2,),))

    def make(params: list[Tensor]) -> Optimizer:
        groups: Any = params
        if kind is MuonWithAdamW:  # x is a matrix, of Muon; y is AdamW's
            groups = [{"params": [params[0]], "use_muon": True}, {"params": params[1:]}]
        optimizer: Optimizer = kind(groups, **options)
        return optimizer

    made = ", ".join(["p", *(f"{k}={v!r}" for k, v in options.items())])
    title = f"{name}({made}), step by step"
    return draw_descent(make, shapes=shapes, steps=STEPS, view=VIEW, title=title)
