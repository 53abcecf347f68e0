"""PipelineStage: the layers of one rank, and its messages with the ranks before and after it.

A stage receives the activations of a micro-batch, computes its layers, and sends the result on; in
the backward pass it receives the gradient of that result and sends the gradient of its input back.
Between two stages the graph is cut: what arrives is a leaf, whose .grad is what is sent back.

Shapes need not be given. In the first step, and in every step in which something has changed since
the last one, a line of integers comes before each micro-batch and says its shapes and dtypes;
afterwards only the numbers travel. The sizes of micro-batches may differ.
"""

from __future__ import annotations

import contextlib
import time
import warnings
from typing import Any

from ... import autograd
from ...arrays.devices import on_gpu
from ...functions.creation.filled import empty, zeros_like
from ...functions.creation.from_data import tensor as make_tensor
from ...nn.module import Module
from ...nn.parallel import DistributedDataParallel
from ...tensor import Tensor, dtypes
from .. import groups
from ..messages import P2POp, batch_isend_irecv, irecv, isend
from ..work import Work

__all__ = ["Meta", "PipelineStage"]

ANNOUNCE, SHAPES, FORWARD, BACKWARD = (2**19 + i for i in range(4))  # tags of messages
LINE = 64  # integers that describe what one stage sends for a micro-batch
KINDS = tuple(dtypes.BY_NAME)

Meta = tuple[int, bool, tuple[int, ...]]  # number of the dtype in KINDS, whether a gradient, shape


def _meta(x: Tensor, with_backward: bool) -> Meta:
    return KINDS.index(x.dtype.name), with_backward and x.requires_grad, tuple(x.shape)


def _packed(metas: tuple[Meta, ...]) -> list[int]:
    """Metas as LINE integers.

    Raises: ValueError if they are too many.
    """
    line = [len(metas)]
    for kind, needs, shape in metas:
        line += [kind, int(needs), len(shape), *shape]
    if len(line) > LINE:
        raise ValueError(f"a stage returned {len(metas)} tensors, more than can be described")
    return line + [0] * (LINE - len(line))


def _unpacked(line: list[int]) -> tuple[Meta, ...]:
    metas, at = [], 1
    for _ in range(line[0]):
        kind, needs, n = line[at : at + 3]
        metas.append((kind, bool(needs), tuple(line[at + 3 : at + 3 + n])))
        at += 3 + n
    return tuple(metas)


def _as_tuple(value: Any) -> tuple[Any, ...]:
    return tuple(value) if isinstance(value, (tuple, list)) else (value,)


class PipelineStage:
    """One stage of a pipeline: a module, and its place among the others.

    submodule      the layers of this stage; its output is a tensor, or a tuple of tensors
    stage_index    its number, from 0; stage i is on rank i of the group
    num_stages     how many there are: as many as the group has ranks
    device         where received tensors are put; the module is there already
    input_args, output_args   examples for a micro-batch: what arrives with other shapes or dtypes
                   than these is a warning
    group          the ranks of the pipeline; None for all processes
    A DistributedDataParallel may be the submodule: its ranks exchange gradients once per step.
    Raises: ValueError if the index does not exist; RuntimeError if the group's ranks are not as
    many as the stages.
    """

    def __init__(
        self, submodule: Module, stage_index: int, num_stages: int, device: Any,
        input_args: Any = None, output_args: Any = None, output_grads: Any = None,
        input_grads: Any = None, group: Any = None, dw_builder: Any = None, get_mesh: Any = None,
    ) -> None:  # fmt: skip
        if not 0 <= stage_index < num_stages:
            raise ValueError(f"Stage index {stage_index} is out of range of {num_stages}")
        if dw_builder is not None or get_mesh is not None:
            raise ValueError("PipelineStage: dw_builder and get_mesh are not offered")
        self.submod, self.stage_index, self.num_stages = submodule, stage_index, num_stages
        self.device, self.group = device, group
        self.group_rank, self.group_size = groups.get_rank(group), groups.get_world_size(group)
        if self.group_size > num_stages:
            raise RuntimeError(
                f"Pipeline group size {self.group_size} cannot be larger than number of stages "
                f"{num_stages}"
            )
        if self.group_size < num_stages or self.group_rank != stage_index:
            raise RuntimeError(
                f"PipelineStage: stage {stage_index} of {num_stages} is on rank {stage_index} of a "
                f"group of {num_stages} ranks, this is rank {self.group_rank} of {self.group_size}"
            )
        self._examples = {"input": input_args, "output": output_args}
        self.alive: dict[int, tuple[tuple[Any, ...], tuple[Any, ...]]] = {}  # outputs, inputs
        self.most_alive = 0  # the most micro-batches whose activations were kept at a time
        self._key: Any = None  # what decided the shapes in the last step
        self._fresh = True  # whether shapes travel in this step
        self._inputs: dict[int, tuple[Meta, ...]] = {}
        self._works: list[Work] = []
        self._later: list[P2POp] = []  # sends that have not begun, see _send
        self.with_backward = False
        self.arrived = 0.0  # when the numbers of the last micro-batch were here, in seconds

    @property
    def is_first(self) -> bool:
        """Whether no stage is before this one."""
        return self.stage_index == 0

    @property
    def is_last(self) -> bool:
        """Whether no stage is after this one."""
        return self.stage_index == self.num_stages - 1

    def rank_of(self, stage: int) -> int:
        """The rank among all processes that has a stage."""
        return groups.get_global_rank(self.group, stage)

    # ----------------------------------------------------------------------------- messages
    def _send(self, tensors: Any, to: int, tag: int) -> None:
        """Begin to send; over NCCL together with what is received next.

        NCCL's messages run one after the other. If two neighbours both sent first, each would wait
        until the other receives; so sends and receives that may meet are launched together.
        """
        peer = self.rank_of(to)
        ops = [P2POp(isend, each.detach(), peer, self.group, tag) for each in tensors]
        if any(self._runs_in_order(each) for each in tensors):
            self._later += ops
        else:
            self._works += batch_isend_irecv(ops) if ops else []
            unfinished = lambda work: not work.is_completed() or work.exception()  # noqa: E731
            self._works = [work for work in self._works if unfinished(work)]

    def _receive(self, into: list[Tensor], source: int, tag: int) -> list[Tensor]:
        peer = self.rank_of(source)
        ops = [P2POp(irecv, each, peer, self.group, tag) for each in into]
        together = any(self._runs_in_order(each) for each in into)
        sends = len(self._later) if together else 0
        works = batch_isend_irecv([*self._later[:sends], *ops]) if ops else []
        del self._later[:sends]
        self._works += works[:sends]
        for work in works[sends:]:
            work.wait()
        self.arrived = time.perf_counter()
        return into

    def _send_what_waits(self) -> None:
        """Begin to send what _send has put off: nothing is received next."""
        if self._later:
            self._works += batch_isend_irecv(self._later)
            self._later = []

    def _runs_in_order(self, x: Tensor) -> bool:
        """Whether messages of such tensors run one after the other: those over NCCL."""
        group = groups.member_group(self.group, "PipelineStage")
        return group is not None and on_gpu((x.array,)) and group.takes(x.array)

    def _numbers(self, values: list[int]) -> Tensor:
        return make_tensor(values, dtype=dtypes.int64)  # on the CPU, also between GPUs

    def _empty(self, meta: Meta) -> Tensor:
        kind, _, shape = meta
        return empty(*shape, dtype=dtypes.BY_NAME[KINDS[kind]], device=self.device)

    # ------------------------------------------------------------------------------- a step
    def begin(self, inputs: list[Any], with_backward: bool) -> None:
        """Agree with the neighbours on a step: micro-batches, mode, and whether shapes travel.

        inputs: for each micro-batch its arguments here.
        Raises: ValueError if the stage before has another number of micro-batches, or another mode.
        """
        self.alive.clear()
        self.most_alive, self.with_backward = 0, with_backward
        n = len(inputs)
        key = [with_backward, self.submod.training, *map(_described, inputs)]
        mine = [int(key != self._key), n, int(with_backward)]
        if not self.is_first:
            before = self._receive([self._numbers([0] * 3)], self.stage_index - 1, ANNOUNCE)
            changed, *others = before[0].tolist()
            mine[0] |= changed
            if others != mine[1:]:
                raise ValueError(
                    f"stage {self.stage_index - 1} makes {others[0]} micro-batches "
                    f"{_MODES[others[1]]}, stage {self.stage_index} {n} {_MODES[mine[2]]}"
                )
        if not self.is_last:
            self._send([self._numbers(mine)], self.stage_index + 1, ANNOUNCE)
        self._key, self._fresh = key, bool(mine[0])

    def _received(self, i: int) -> tuple[Tensor, ...]:
        """The activations of a micro-batch, as leaves."""
        before = self.stage_index - 1
        if self._fresh:
            (line,) = self._receive([self._numbers([0] * LINE)], before, SHAPES)
            self._inputs[i] = _unpacked(line.tolist())
        metas = self._inputs[i]
        tensors = self._receive([self._empty(meta) for meta in metas], before, FORWARD)
        for x, (_, needs, _) in zip(tensors, metas, strict=True):
            if needs:
                x.requires_grad_()
        return tuple(tensors)

    def forward_one(self, i: int, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """The output of micro-batch i, which is sent to the next stage; args: of the first stage.

        Raises: TypeError if a stage that is not the last returns something else than tensors.
        """
        if self.is_first:
            self._send_what_waits()
        inputs = args if self.is_first else self._received(i)
        out = self.submod(*inputs, **kwargs)
        outputs = _as_tuple(out)
        if self._fresh and i == 0:
            self._compare("input", inputs)
            self._compare("output", outputs)
        if not self.is_last:
            if not all(isinstance(x, Tensor) for x in outputs):
                raise TypeError(
                    f"stage {self.stage_index} must return a tensor or a tuple of tensors, which "
                    f"the next stage gets, got {type(out).__name__}"
                )
            if self._fresh:
                metas = tuple(_meta(x, self.with_backward) for x in outputs)
                self._send([self._numbers(_packed(metas))], self.stage_index + 1, SHAPES)
            self._send(outputs, self.stage_index + 1, FORWARD)
        if self.with_backward:
            self.alive[i] = outputs, inputs
            self.most_alive = max(self.most_alive, len(self.alive))
        return out

    def backward_one(self, i: int, loss: Tensor | None) -> None:
        """The backward pass of micro-batch i: from its loss, or from the next stage's gradient.

        The gradient of its input is sent to the stage before; parameters add theirs to .grad.
        """
        outputs, inputs = self.alive.pop(i)
        if self.is_last:
            self._send_what_waits()
        if loss is not None:
            if loss.requires_grad:
                loss.backward()
        else:
            ends = [y for y in outputs if y.requires_grad]
            here = [empty(*y.shape, dtype=y.dtype, device=self.device) for y in ends]
            gradients = self._receive(here, self.stage_index + 1, BACKWARD)
            if ends:
                autograd.backward(ends, gradients)
        if not self.is_first:
            leaves = [x for x in inputs if x.requires_grad]
            back = [zeros_like(x.detach()) if x.grad is None else x.grad for x in leaves]
            self._send(back, self.stage_index - 1, BACKWARD)

    def synchronised(self, last: bool) -> Any:
        """The block in which a micro-batch is computed; a DDP exchanges gradients in the last."""
        if isinstance(self.submod, DistributedDataParallel) and not last:
            return self.submod.no_sync()
        return contextlib.nullcontext()

    def finish(self, divide_by: int) -> None:
        """Wait until all has been sent; divide the gradients by a number."""
        self._send_what_waits()
        for work in self._works:
            work.wait()
        self._works.clear()
        if divide_by != 1 and self.with_backward:
            for p in self.submod.parameters():
                if p.grad is not None:
                    p.grad /= divide_by

    def _compare(self, what: str, values: tuple[Any, ...]) -> None:
        """Warn if a micro-batch is not as the example was."""
        if self._examples[what] is None:
            return
        example = _described(_as_tuple(self._examples[what]))
        if example != _described(values):
            warnings.warn(
                f"stage {self.stage_index}: the {what}s are {_described(values)}, the examples "
                f"{what}_args were {example}",
                stacklevel=2,
            )


_MODES = ("without a backward pass", "with a backward pass")


def _described(values: Any) -> Any:
    """Shapes and dtypes of tensors in tuples and dicts, and the other values' types."""
    if isinstance(values, Tensor):
        return tuple(values.shape), values.dtype.name, values.requires_grad
    if isinstance(values, (tuple, list)):
        return [_described(each) for each in values]
    if isinstance(values, dict):
        return {key: _described(each) for key, each in values.items()}
    return type(values).__name__
