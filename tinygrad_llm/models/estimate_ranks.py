"""What training costs each of many ranks: memory, bytes sent, and time, in closed form.

    mesh = Mesh(ranks=64, tp=8, pp=1)
    print(ranks_table(estimate_ranks(find_config("llama2-7b"), mesh, batch=256)))

R = dp·tp·pp ranks: dp copies of the model with their own texts, each divided into pp stages of
layers, and each stage's matrices among tp ranks. Letters: P parameters, p = P/(tp·pp) of a rank's
part, w, g, o bytes per parameter of weights, gradients and optimizer; W bytes of a number in
activations; B texts of one copy, T tokens, C channels, H heads, L layers; m micro-batches. SCALE.md
beside the benchmarks has these formulas, and figures.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from ..tensor import device
from .config import ModelConfig
from .estimate import BYTES, estimate
from .optimizer_numbers import optimizer_numbers
from .registry import build_from

__all__ = ["SCHEMES", "Mesh", "RankCost", "all_reduce_bytes", "estimate_ranks", "ranks_table"]

# Stage of ZeRO -> what of (weights, gradients, optimizer) is divided among the dp ranks
SCHEMES = {
    "DP": (False, False, False),
    "ZeRO-1": (False, False, True),
    "ZeRO-2": (False, True, True),
    "ZeRO-3": (True, True, True),
}


ALONE = (
    "with one copy nothing is divided; ZeRO-3 needs more than the others, because fully_shard\n"
    "copies the weights of the layer that computes and of the next one also then"
)


@dataclass(frozen=True)
class Mesh:
    """How ranks are divided, and what connects them.

    ranks           all of them; tp, pp: tensor-parallel ranks and stages, dp is the quotient
    micro_batches   parts of a copy's texts that go through the stages one after the other
    sequence        whether norms and dropout are divided among the tp ranks too
    link, tp_link   10⁹ bytes/s that a rank sends to others, and to its tp neighbours
    tflops          10¹² floating-point operations per second that a rank really reaches
    Raises: ValueError if tp·pp does not divide ranks, for a number that is not above 0, or for
    `sequence` without tp ranks.
    """

    ranks: int
    tp: int = 1
    pp: int = 1
    micro_batches: int = 1
    sequence: bool = False
    link: float = 50.0
    tp_link: float = 450.0
    tflops: float = 400.0

    def __post_init__(self) -> None:
        for name in ("ranks", "tp", "pp", "micro_batches", "link", "tp_link", "tflops"):
            if not getattr(self, name) > 0:
                raise ValueError(f"{name} must be above 0, got {getattr(self, name)}")
        if self.ranks % (self.tp * self.pp):
            raise ValueError(
                f"{self.ranks} ranks are not a multiple of tp x pp = {self.tp} x {self.pp}"
            )

        if self.sequence and self.tp == 1:
            raise ValueError(
                "sequence divides what tensor parallelism leaves whole: it needs a tp above 1"
            )

    @property
    def dp(self) -> int:
        """Copies of the model."""
        return self.ranks // (self.tp * self.pp)


@dataclass(frozen=True)
class RankCost:
    """What one rank has and sends in one step of one scheme. Bytes; seconds.

    weights, gradients, optimizer, activations   memory
    sent    bytes to the other copies, to its tp ranks, and to the next stage
    compute, bubble, communication               seconds; nothing of it overlaps
    """

    scheme: str
    weights: float
    gradients: float
    optimizer: float
    activations: float
    sent: tuple[float, float, float]
    compute: float
    bubble: float
    communication: float

    @property
    def sent_dp(self) -> float:
        """Bytes of gradients and weights, to the other copies."""
        return self.sent[0]

    @property
    def sent_tp(self) -> float:
        """Bytes of activations and their gradients, to its tp ranks."""
        return self.sent[1]

    @property
    def sent_pp(self) -> float:
        """Bytes to the next stage; as many go back."""
        return self.sent[2]

    @property
    def memory(self) -> float:
        """All four."""
        return self.weights + self.gradients + self.optimizer + self.activations

    @property
    def share(self) -> float:
        """Of the step's time that is communication, if none of it overlaps."""
        return self.communication / (self.compute + self.bubble + self.communication)


def all_reduce_bytes(n: float, ranks: int) -> float:
    """What each rank sends in an all-reduce of n bytes: 2·n·(R − 1)/R, on average over ranks.

    A reduce-scatter and an all-gather, n·(R − 1)/R each.
    """
    return 2.0 * n * (ranks - 1) / ranks


def activation_numbers(C: int, H: int, tp: int, sequence: bool) -> float:
    """Numbers per token that a block keeps for backward: (4·C + 2)/s + (12·C + H)/tp.

    Norms 2·C + 2 and the inputs of the first matrices 2·C are on all tp ranks (s = 1), or divided
    too with `sequence` (s = tp); queries, keys, values, attention's output and log-sums, GELU and
    the input of the last matrix are divided.
    """
    return (4 * C + 2) / (tp if sequence else 1) + (12 * C + H) / tp


def estimate_ranks(
    config: ModelConfig, mesh: Mesh, *, batch: int = 1, context_length: int | None = None,
    dtype: str = "bfloat16", optimizer: str = "adamw",
) -> list[RankCost]:  # fmt: skip
    """The costs of a rank for each of SCHEMES.

    batch   texts of one step, of all copies together
    dtype   of activations; bfloat16: w = 2, g = 2, o = 12 (float32 weights and two moments);
            float32: w = 4, g = 4, o = 8
    optimizer   as of pretrain; o is for AdamW's two moments, another keeps as many numbers as
            models.optimizer_numbers says
    Raises: ValueError as `estimate`, for an optimizer that is not known, or if the copies do not
    divide the texts, or the micro-batches those of a copy.
    """
    made: Any = estimate(config, batch=batch, context_length=context_length, dtype=dtype)
    shape: Any = config
    L, C, H, T = shape.n_layers, shape.emb_dim, shape.n_heads, made.context_length
    if batch % mesh.dp or (batch // mesh.dp) % mesh.micro_batches:
        raise ValueError(
            f"{batch} texts cannot be divided among {mesh.dp} copies of the model with "
            f"{mesh.micro_batches} micro-batches each: take a multiple of "
            f"{mesh.dp * mesh.micro_batches}"
        )
    if mesh.pp > L:
        raise ValueError(f"{L} layers cannot be divided into {mesh.pp} stages")
    W = BYTES[dtype]
    w, g = W, W
    kept = _kept_per_parameter(config, optimizer)
    o = 4 + 4 * kept if W == 2 else W * kept
    texts = batch // mesh.dp
    micro = texts // mesh.micro_batches
    part = made.parameters / (mesh.tp * mesh.pp)
    numbers = activation_numbers(C, H, mesh.tp, mesh.sequence)
    held = min(mesh.pp, mesh.micro_batches) * micro  # texts whose activations the first stage has
    activations = held * T * (L / mesh.pp) * numbers * W
    compute = made.training_flops / mesh.ranks / (mesh.tflops * 1e12)
    sent_tp = 4 * (L / mesh.pp) * all_reduce_bytes(texts * T * C * W, mesh.tp)
    sent_pp = texts * T * C * W if mesh.pp > 1 else 0.0
    costs = []
    for scheme, (weights, gradients, state) in SCHEMES.items():
        d = [mesh.dp if divided else 1 for divided in (weights, gradients, state)]
        once = part * w * (mesh.dp - 1) / mesh.dp  # a reduce-scatter or an all-gather
        sent_dp = once * _times(gradients, weights, mesh.micro_batches)
        layer = 2 * w * part / (L / mesh.pp) if weights else 0.0  # one computes, one is gathered
        seconds = (sent_dp + sent_pp) / (mesh.link * 1e9) + sent_tp / (mesh.tp_link * 1e9)
        costs.append(
            RankCost(scheme, part * w / d[0] + layer, part * g / d[1], part * o / d[2],
                     activations, (sent_dp, sent_tp, sent_pp), compute,
                     compute * (mesh.pp - 1) / mesh.micro_batches, seconds)
        )  # fmt: skip
    return costs


def _kept_per_parameter(config: ModelConfig, optimizer: str) -> float:
    """The numbers that the optimizer keeps for each parameter, on average."""
    if optimizer == "adamw":
        return 2
    with device("meta"):
        model: Any = build_from(config)
    return optimizer_numbers(model, optimizer) / model.n_parameters()


def _times(gradients: bool, weights: bool, micro_batches: int) -> int:
    """How often a rank sends (or collects) all parameters or gradients of its part in a step.

    Undivided gradients are summed once, divided ones after every micro-batch, because no rank keeps
    the whole; weights that are divided are gathered for each forward and each backward pass.
    """
    summed = micro_batches if gradients else 1
    return summed + (2 * micro_batches if weights else 1)


def ranks_table(costs: Sequence[RankCost], mesh: Mesh) -> str:
    """A table with a line for each scheme."""
    head = ("", "weights", "gradients", "optimizer", "activations", "memory", "sent dp", "sent tp",
            "sent pp", "compute", "bubble", "sending")  # fmt: skip
    lines = [
        f"{mesh.ranks:,} ranks: {mesh.dp:,} copies, tp {mesh.tp}, pp {mesh.pp} with "
        f"{mesh.micro_batches} micro-batches; GB and seconds of each rank in a step",
        f"{mesh.tflops:g} TFLOP/s, {mesh.link:g} GB/s, {mesh.tp_link:g} GB/s within tp; "
        "sending: its share of the step if nothing overlaps",
        "",
        f"{head[0]:8}" + "".join(f"{name:>12}" for name in head[1:]),
    ]
    for c in costs:
        sizes = (c.weights, c.gradients, c.optimizer, c.activations, c.memory, *c.sent)
        lines.append(
            f"{c.scheme:8}" + "".join(f"{n / 1e9:>12,.2f}" for n in sizes)
            + f"{c.compute:>12.3f}{c.bubble:>12.3f}{c.share:>12.1%}"
        )  # fmt: skip
    if mesh.dp == 1:
        lines += ["", ALONE]
    return "\n".join(lines)
