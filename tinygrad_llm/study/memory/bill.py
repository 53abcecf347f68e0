"""The memory bill of a GPT's training step in closed form: what is kept, and by which op.

    print(memory_bill(GPTConfig.gpt2_small(drop_rate=0.0), batch=4, time=256))

A test holds it against what the ops keep, array by array, as `study.trace` counts it.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from ...arrays.attention_blocks import BLOCK_ROWS
from ...models.costs import Item, kept_by_block, kept_outside, norms_are_loops, state_items
from ...models.gpt import GPTConfig

__all__ = ["MemoryBill", "memory_bill"]

_NUMBER = 4  # bytes of a float32


@dataclass(frozen=True)
class MemoryBill:
    """What a training step keeps. `held` is what backward needs when it begins."""

    config: GPTConfig
    batch: int
    time: int
    checkpointing: bool
    loops: bool = False  # whether layer norm is a compiled loop, which keeps its input
    state: list[Item] = field(default_factory=list)  # weights, gradients, optimizer
    block: list[Item] = field(default_factory=list)  # what the ops of one block save
    outside: list[Item] = field(default_factory=list)  # what the ops outside of blocks save
    inputs: list[Item] = field(default_factory=list)  # of checkpointed blocks

    @property
    def one_block(self) -> int:
        """Bytes that the ops of one block save."""
        return sum(item.total for item in self.block)

    @property
    def held(self) -> int:
        """Bytes that backward needs when forward has ended."""
        blocks = 0 if self.checkpointing else self.config.n_layers * self.one_block
        return sum(item.total for item in (*self.outside, *self.inputs)) + blocks

    @property
    def peak(self) -> int:
        """The largest number of bytes held: with checkpointing, while one block is run again."""
        if not self.checkpointing:
            return self.held
        last = sum(item.total for item in self.outside[1:])  # gone before the first block
        block = self.one_block
        if self.loops:  # the first norm keeps the block's input, which is there already
            block -= self.inputs[0].bytes
        return max(self.held, self.held - last + block)

    @property
    def total(self) -> int:
        """Weights, gradients, optimizer and the peak of what backward needs."""
        return sum(item.total for item in self.state) + self.peak

    def __str__(self) -> str:
        blocks = 1 if self.checkpointing else self.config.n_layers
        lines = [f"{'':38}{'one':>13}{'':>5}{'bytes':>15}"]
        groups: list[tuple[list[Item], int]] = [
            (self.state, 1), (self.outside, 1), (self.inputs, 1), (self.block, blocks),
        ]  # fmt: skip
        for items, times in groups:
            for item in items:
                n = item.times * times
                what = f"{item.what}: {item.formula}"
                lines.append(f"{what:38}{item.bytes:13,}{f'x{n}' if n > 1 else '':>5}"
                             f"{n * item.bytes:15,}")  # fmt: skip
        for what, n in (("backward needs at most", self.peak), ("in all", self.total)):
            lines.append(f"{what:56}{n:15,}")
        return "\n".join(lines)


def memory_bill(
    config: GPTConfig, batch: int, time: int, checkpointing: bool = False, moments: int = 2,
    loops: bool | None = None,
) -> MemoryBill:  # fmt: skip
    """The bill of a training step on batch × time tokens in float32.

    checkpointing    whether each block is run again in backward
    moments          arrays of the optimizer per weight (AdamW: 2, SGD with momentum: 1)
    loops            whether layer norm is a compiled loop; None: as on this machine

    Raises: ValueError if batch or time is below 1, if time exceeds the context length, or if
    moments is negative.
    """
    if batch < 1 or time < 1 or moments < 0:
        raise ValueError(
            "batch and time must be at least 1 and moments at least 0, got "
            f"batch {batch}, time {time}, moments {moments}"
        )
    if time > config.context_length:
        raise ValueError(f"time {time} exceeds the context length {config.context_length}")
    if loops is None:
        loops = norms_are_loops(config, batch, time)
    block = kept_by_block(config, batch, time, loops=loops)
    mask = Item("attention, mask of a block", f"{BLOCK_ROWS}·{BLOCK_ROWS}", 1,
                _NUMBER * BLOCK_ROWS * BLOCK_ROWS)  # fmt: skip
    block.insert(5, mask)  # after attention's other arrays
    layer_input = _NUMBER * batch * time * config.emb_dim
    inputs = [Item("inputs of the blocks", "N·C", config.n_layers, layer_input)]
    return MemoryBill(
        config, batch, time, checkpointing, loops, state_items(config, moments), block,
        kept_outside(config, batch, time, loops=loops), inputs if checkpointing else [],
    )  # fmt: skip
