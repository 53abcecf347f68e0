"""About how much memory a run of pretraining takes, known before anything of it is built.

A step holds weights, gradients and what the optimizer keeps; and of each token, until the backward
pass has come by, what the ops of all layers keep. The latter is counted in bytes per channel and
token, as measured for each family (tests/test_memory_needed.py measures real steps beside it).
"""

from __future__ import annotations

import math
from typing import Any, NamedTuple

from ..arrays.parallel import free_memory, machine_memory
from ..backends import loops
from .options import OptionError

__all__ = ["check_batch", "check_model", "kept_per_token", "state_bytes"]


class Kept(NamedTuple):
    """What a layer keeps, in bytes per channel and token: with compiled loops, and without."""

    loops: float
    numpy: float


# Measured at 128 channels and 128 tokens, 4 and 8 layers, of the shape that pretrain gives a family
_FAMILIES = {
    "gpt": Kept(64.4, 64.3), "llama": Kept(67.5, 89.4), "qwen2": Kept(67.5, 89.4),
    "qwen3": Kept(71.7, 93.7), "cohere2": Kept(58.0, 79.9), "gemma3": Kept(79.8, 101.8),
    "olmo3": Kept(67.6, 89.6), "qwen35": Kept(87.6, 109.5), "qwen3moe": Kept(73.8, 85.8),
    "bert": Kept(64.3, 64.3), "roberta": Kept(64.3, 64.3), "distilbert": Kept(64.3, 64.3),
    "modernbert": Kept(58.8, 70.8),
}  # fmt: skip
_OF_GPT = {  # what these keep more than mha, dense, learned and layer
    ("attention", "deltanet"): Kept(67.3, 67.1), ("feed_forward", "relu2"): Kept(4.1, 4.1),
    ("feed_forward", "swiglu"): Kept(0.3, 21.8), ("positions", "rotary"): Kept(8.2, 8.2),
    ("qk_norm", True): Kept(12.3, 12.3), ("value_embeddings", True): Kept(4.1, 4.1),
}  # fmt: skip
_EXPERT, _DENSE = Kept(56.2, 88.2), 31.4  # of moe: each expert of a token; in place of dense
_OUTSIDE = 52.0  # of embeddings, head and loss, and what the layer at work needs besides
_AT_WORK = 12.0  # the same with gradient checkpointing, where a layer at work is alone
_INPUT = 6.0  # of a layer whose forward pass runs again in the backward pass
_PROGRAM = 200 << 20  # bytes of Python, NumPy, Numba and the texts, about
_FAR = 10_000  # how far below the largest batch that fits one that divides it is looked for


def check_model(o: Any) -> None:
    """Whether a model fits the memory of this machine in training; not on a GPU.

    o: of pretrain, PretrainOptions
    Raises: OptionError that says what does not fit.
    """
    memory = None if o.device.startswith("cuda") else machine_memory()
    if memory is not None and state_bytes(o) > memory:
        raise OptionError(f"{_too_large(o)}, and this machine has {_gib(memory)}")


def check_batch(o: Any) -> None:
    """Whether a step fits the memory that this machine has free; not for a model on a GPU.

    o: of pretrain, PretrainOptions
    Raises: OptionError that says what does not fit, and what to take instead.
    """
    free = None if o.device.startswith("cuda") else free_memory()
    if free is None:
        return
    state = state_bytes(o) + _PROGRAM
    has = f"this machine has {_gib(free)} free of {_gib(machine_memory() or free)}"
    if state > free:
        raise OptionError(f"{_too_large(o)}, and {has}")
    for compiled in (False, None):  # loops never take more, and to ask for them imports Numba
        window = o.context_length * kept_per_token(o, o.gradient_checkpointing, compiled)
        if state + o.batch_size * window <= free:
            return
    raise OptionError(
        f"`batch_size` {o.batch_size} windows of `context_length` {o.context_length:,} take about "
        f"{_gib(o.batch_size * window)} for the backward pass, all else {_gib(state)}, and {has}: "
        f"take {_smaller(o, free - state, window)}"
    )


def _too_large(o: Any) -> str:
    return (
        f"`emb_dim` {o.emb_dim} and `n_layers` {o.n_layers} make a model whose weights, gradients "
        f"and moments take {_gib(state_bytes(o))} in training"
    )


def _smaller(o: Any, free: int, window: int) -> str:
    """What fits instead: a smaller batch, more of them in a step; or gradient checkpointing.

    free: bytes for what is kept; window: bytes of one
    """
    most, ways = free // window, []
    if most:
        near = range(most, max(0, most - _FAR), -1)
        batch = next((n for n in near if o.batch_size % n == 0), most)
        batches = math.ceil(o.accumulation * o.batch_size / batch)
        ways.append(f"`batch_size` {batch} and `accumulation` {batches} for as many windows a step")
    again = o.context_length * kept_per_token(o, True)
    if not o.gradient_checkpointing and o.packing != "isolated" and o.batch_size * again <= free:
        ways.append("`gradient_checkpointing`")
    return ", or ".join(ways) or "a shorter `context_length`, or fewer `n_layers`"


def kept_per_token(o: Any, checkpointing: bool, compiled: bool | None = None) -> int:
    """Bytes that a step holds of each token of a batch.

    checkpointing: layers keep their input alone, and one at a time what it keeps otherwise;
    compiled: whether ops run as compiled loops, None: as on this machine
    """
    if compiled is None:
        compiled = loops.enabled and loops.is_available()
    parts = [_FAMILIES.get(o.model, _FAMILIES["gpt"])]
    parts += [more for (name, value), more in _OF_GPT.items() if getattr(o, name) == value]
    layer = sum(part.loops if compiled else part.numpy for part in parts)
    if o.feed_forward == "moe":
        layer += min(o.n_experts_per_token, o.n_experts) * _EXPERT[0 if compiled else 1] - _DENSE
    if o.drop_rate:  # a byte for each element and each score that may be dropped
        layer += 2 + o.n_heads * o.context_length / o.emb_dim
    if checkpointing:
        return math.ceil((_INPUT * o.n_layers + layer + _AT_WORK) * o.emb_dim)
    return math.ceil((layer * o.n_layers + _OUTSIDE) * o.emb_dim)


def state_bytes(o: Any) -> int:
    """About how many bytes weights, gradients, optimizer and average take in training."""
    from ..models.optimizer_numbers import KEPT

    C = o.emb_dim
    squares = 4 + 12 * o.n_experts if o.feed_forward == "moe" else 12
    hidden = squares * o.n_layers * C * C
    n = (o.vocab_size + o.context_length) * C + hidden
    of_hidden, of_others = KEPT[o.optimizer]
    kept = n * of_others + hidden * (of_hidden - of_others)
    return 4 * (2 * n + kept + (n if o.ema is not None else 0))


def _gib(n: int) -> str:
    return f"{n / 2**30:,.1f} GiB" if n < 2**40 else f"{n >> 30:,} GiB"
