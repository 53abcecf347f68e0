"""PyTorch's collectives over tensors: every rank of a group calls the same one.

Each writes its result into the tensors that it was given. With async_op=True it returns a Work
immediately, and the tensors are not touched until work.wait() has returned. Nothing is recorded for
backward; functional.py has the collectives that are ops.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from ..arrays.devices import asarray, to_numpy, use_gpu_of, xp_of
from ..arrays.memory import address, ndarray, storage_of
from ..autograd.inplace_versions import mark_modified
from ..tensor import Tensor
from .groups import member_group, run
from .process_group import ProcessGroup
from .reductions import ReduceOp, check_reduction
from .steps import all_gathered, as_bytes, reduced, reduced_part
from .transport import Steps
from .work import in_seconds

__all__ = [
    "all_gather",
    "all_gather_into_tensor",
    "all_reduce",
    "all_to_all",
    "all_to_all_single",
    "barrier",
    "broadcast",
    "filled",
    "flat",
    "gather",
    "monitored_barrier",
    "reduce",
    "reduce_scatter",
    "reduce_scatter_tensor",
    "row_counts",
    "scatter",
    "store",
]


# ------------------------------------------------------------------------------ tensors and bytes
def flat(tensor: Tensor, group: Any = None, name: str = "tensor") -> Any:
    """The tensor's numbers in one dimension: its own memory where that is possible.

    group: the ranks to which they go; where it sends no arrays from a GPU, they are copied.
    Raises: TypeError if it is not a tensor.
    """
    if not isinstance(tensor, Tensor):
        raise TypeError(
            f"Invalid function argument. Expected parameter `{name}` of type torch.Tensor\n"
            f"             but got {type(tensor)} instead."
        )
    use_gpu_of(tensor)
    array = tensor.array
    if group is None or not group.takes(array):
        array = to_numpy(array)
    return xp_of(array).ascontiguousarray(array).reshape(-1)  # (...) -> (n,)


def filled(tensor: Tensor, group: Any = None, name: str = "tensor") -> Any:
    """`flat` for a tensor into which a result will be written.

    Raises: TypeError if it is not a tensor; ValueError if its memory cannot be written.
    """
    numbers = flat(tensor, group, name)
    if type(tensor.array) is ndarray and not tensor.array.flags.writeable:
        raise ValueError(
            f"{name}: the result cannot be written into this tensor, whose elements share memory "
            "(expand) or whose array is read-only: pass its clone()"
        )
    return numbers


def store(tensor: Tensor, numbers: Any, by: str) -> None:
    """Write numbers (n,) into the tensor, unless they are its own memory already."""
    array = tensor.array
    if not _same_memory(array, numbers):
        array[...] = asarray(numbers.reshape(array.shape), array)  # (n,) -> (...)
    mark_modified(array, by)


def _same_memory(array: Any, numbers: Any) -> bool:
    if isinstance(array, np.ndarray):
        return isinstance(numbers, np.ndarray) and np.may_share_memory(array, numbers)
    return type(numbers) is type(array) and address(array) == address(numbers)


def _kind(tensor: Tensor) -> str:
    """Dtype and shape, which must agree on all ranks."""
    return f"{tensor.dtype.name} {tuple(tensor.shape)}"


def _like(
    tensors: Sequence[Tensor], expected: Tensor, group: ProcessGroup, name: str
) -> list[Tensor]:
    """One tensor per rank, each of the expected shape and dtype.

    Raises: ValueError or TypeError for others.
    """
    if isinstance(tensors, Tensor) or not isinstance(tensors, Sequence):
        raise TypeError(f"{name}: expected a list of tensors, got {type(tensors).__name__}")
    if len(tensors) != group.size():
        raise ValueError(
            f"{name}: expected one tensor per rank, {group.size()} in all, got {len(tensors)}"
        )
    for tensor in tensors:
        filled(tensor, group, name)
        if tensor.shape != expected.shape or tensor.dtype is not expected.dtype:
            raise ValueError(f"{name}: expected {_kind(expected)}, got {_kind(tensor)}")
    return list(tensors)


def _joined(tensors: Sequence[Tensor], group: ProcessGroup) -> Any:
    """The tensors' numbers one after the other."""
    parts = [flat(t, group) for t in tensors]
    return xp_of(parts[0]).concatenate(parts)


def _store_all(tensors: Sequence[Tensor], numbers: Any, by: str) -> None:
    """Write the parts of numbers into the tensors, which have equal sizes."""
    for tensor, part in zip(tensors, xp_of(numbers).split(numbers, len(tensors)), strict=True):
        store(tensor, part, by)


# ------------------------------------------------------------------------------------ one to all
def barrier(
    group: Any = None, async_op: bool = False, device_ids: Any = None, timeout: Any = None
) -> Any:
    """Wait until every rank is here.

    timeout: seconds or a timedelta; None: the group's limit.
    Raises: DistBackendError if a rank does not come in time.
    """
    chosen = member_group(group, "barrier")
    if chosen is None:
        return None
    if chosen.nccl is not None:
        chosen.nccl.stream.synchronize()
    limit = None if timeout is None else in_seconds(timeout)
    work = run(chosen, "barrier()", _nothing(), True)
    work.limit = limit
    return work if async_op else work.result()


def monitored_barrier(group: Any = None, timeout: Any = None, wait_all_ranks: bool = False) -> None:
    """barrier with a separate time limit, in seconds or as a timedelta.

    Raises: DistBackendError if a rank does not come in time.
    """
    barrier(group, timeout=timeout)


def _nothing() -> Steps:
    yield from ()


def broadcast(
    tensor: Tensor, src: int | None = None, group: Any = None, async_op: bool = False,
    group_src: int | None = None,
) -> Any:  # fmt: skip
    """Replace the tensor by that of rank src.

    src: among all ranks; in its place group_src, as below group_dst: a rank in the group.
    Raises: ValueError unless one of both is given, and is in the group.
    """
    chosen = member_group(group, "broadcast")
    if chosen is None:
        return None
    root = chosen.named(src, group_src)
    numbers = flat(tensor, chosen) if chosen.rank() == root else filled(tensor, chosen)

    def steps() -> Steps:
        yield chosen.lane(numbers).broadcast(as_bytes(numbers), root)
        if chosen.rank() != root:
            store(tensor, numbers, "broadcast")

    return run(
        chosen,
        f"broadcast(src={chosen.ranks[root]}) of {_kind(tensor)}",
        steps(),
        async_op,
        numbers,
    )


def scatter(
    tensor: Tensor, scatter_list: list[Tensor] | None = None, src: int | None = None,
    group: Any = None, async_op: bool = False, group_src: int | None = None,
) -> Any:  # fmt: skip
    """Replace the tensor by this rank's tensor of rank src's list; rank 0's if none is named.

    Raises: ValueError if rank src has no list, or one with other tensors.
    """
    chosen = member_group(group, "scatter")
    if chosen is None:
        return None
    root, size = chosen.named(src, group_src, 0), chosen.size()
    numbers = filled(tensor, chosen)
    everyones = numbers[:0]
    if chosen.rank() == root:
        if scatter_list is None and size > 1:
            raise ValueError("scatter: rank src needs scatter_list, one tensor per rank")
        given = _like(scatter_list or [tensor], tensor, chosen, "scatter_list")
        everyones = _joined(given, chosen)

    def steps() -> Steps:
        counts = [numbers.nbytes] * size
        yield chosen.lane(numbers).scatter(as_bytes(everyones), counts, as_bytes(numbers), root)
        store(tensor, numbers, "scatter")

    return run(
        chosen, f"scatter(src={chosen.ranks[root]}) of {_kind(tensor)}", steps(), async_op, numbers
    )


# ------------------------------------------------------------------------------------ all to one
def reduce(
    tensor: Tensor, dst: int | None = None, op: Any = ReduceOp.SUM, group: Any = None,
    async_op: bool = False, group_dst: int | None = None,
) -> Any:  # fmt: skip
    """all_reduce whose result only rank dst has; the other ranks' tensors stay as they are.

    Raises: ValueError unless dst or group_dst is given.
    """
    chosen = member_group(group, "reduce")
    if chosen is None:
        return None
    root = chosen.named(dst, group_dst)
    numbers = flat(tensor, chosen)
    check_reduction(op, numbers.dtype)

    def steps() -> Steps:
        total = yield from reduced(chosen, numbers, op)
        if chosen.rank() == root:
            store(tensor, total, "reduce")

    what = f"reduce({op.name}, dst={chosen.ranks[root]}) of {_kind(tensor)}"
    return run(chosen, what, steps(), async_op, numbers)


def gather(
    tensor: Tensor, gather_list: list[Tensor] | None = None, dst: int | None = None,
    group: Any = None, async_op: bool = False, group_dst: int | None = None,
) -> Any:  # fmt: skip
    """all_gather whose result only rank dst has, rank 0 if none is named."""
    chosen = member_group(group, "gather")
    if chosen is None:
        return None
    root, size = chosen.named(dst, group_dst, 0), chosen.size()
    numbers = flat(tensor, chosen)
    everyones = numbers[:0]
    outputs: list[Tensor] = []
    if chosen.rank() == root and (gather_list is not None or size > 1):
        outputs = _like(gather_list or [], tensor, chosen, "gather_list")
        everyones = xp_of(numbers).empty(size * numbers.size, numbers.dtype)

    def steps() -> Steps:
        counts = [numbers.nbytes] * size
        if size > 1 or outputs:
            mine = as_bytes(numbers)
            yield chosen.lane(numbers).gather(mine, as_bytes(everyones), counts, root)
        if outputs:
            _store_all(outputs, everyones, "gather")

    return run(
        chosen, f"gather(dst={chosen.ranks[root]}) of {_kind(tensor)}", steps(), async_op, numbers
    )


# ------------------------------------------------------------------------------------ all to all
def all_reduce(
    tensor: Tensor, op: Any = ReduceOp.SUM, group: Any = None, async_op: bool = False
) -> Any:
    """Replace the tensor by the reduction over all ranks: the same bits on each of them.

    op: ReduceOp.SUM, AVG, PRODUCT, MIN or MAX; over the ranks in their order, float16 and bfloat16
    in float32, rounded once.
    """
    chosen = member_group(group, "all_reduce")
    if chosen is None:
        return None
    numbers = filled(tensor, chosen)
    check_reduction(op, numbers.dtype)

    def steps() -> Steps:
        total = yield from reduced(chosen, numbers, op, into=numbers)
        store(tensor, total, "all_reduce")

    return run(chosen, f"all_reduce({op.name}) of {_kind(tensor)}", steps(), async_op, numbers)


def all_gather(
    tensor_list: list[Tensor], tensor: Tensor, group: Any = None, async_op: bool = False
) -> Any:
    """Copy every rank's tensor into the list's tensor of that rank."""
    chosen = member_group(group, "all_gather")
    if chosen is None:
        return None
    numbers = flat(tensor, chosen)
    outputs = _like(tensor_list, tensor, chosen, "tensor_list")

    def steps() -> Steps:
        _store_all(outputs, (yield from all_gathered(chosen, numbers)), "all_gather")

    return run(chosen, f"all_gather of {_kind(tensor)}", steps(), async_op, numbers)


def all_gather_into_tensor(
    output_tensor: Tensor, input_tensor: Tensor, group: Any = None, async_op: bool = False
) -> Any:
    """Copy the ranks' tensors, one after the other, into output_tensor."""
    chosen = member_group(group, "all_gather_into_tensor")
    if chosen is None:
        return None
    numbers = flat(input_tensor, chosen, "input_tensor")
    output = filled(output_tensor, chosen, "output_tensor")
    _check_sizes(output, numbers, chosen.size(), "output tensor", "input tensor")

    def steps() -> Steps:
        into = None if _may_overlap(output, numbers) else output
        store(output_tensor, (yield from all_gathered(chosen, numbers, into=into)), "all_gather")

    what = f"all_gather_into_tensor of {_kind(input_tensor)}"
    return run(chosen, what, steps(), async_op, numbers)


def _may_overlap(output: Any, numbers: Any) -> bool:
    if isinstance(output, np.ndarray):
        return np.may_share_memory(output, numbers)
    return storage_of(output) is storage_of(numbers)


def _check_sizes(large: Any, small: Any, size: int, one: str, other: str) -> None:
    """Raises: ValueError unless the large array has the small one's size times the ranks."""
    if large.size != small.size * size:
        raise ValueError(
            f"{one} must be the size of {other} times the number of ranks, {small.size} * {size} "
            f"elements, got {large.size}"
        )
    if large.dtype != small.dtype:
        raise ValueError(f"{one} is {large.dtype.name} and {other} is {small.dtype.name}")


def reduce_scatter_tensor(
    output: Tensor, input: Tensor, op: Any = ReduceOp.SUM, group: Any = None, async_op: bool = False
) -> Any:
    """Replace output by this rank's part of the reduction of the ranks' inputs."""
    chosen = member_group(group, "reduce_scatter_tensor")
    if chosen is None:
        return None
    numbers, part = flat(input, chosen, "input"), filled(output, chosen, "output")
    check_reduction(op, numbers.dtype)
    _check_sizes(numbers, part, chosen.size(), "input tensor", "output tensor")
    return _reduce_scatter(chosen, output, numbers, op, async_op, _kind(input))


def _reduce_scatter(
    group: ProcessGroup, output: Tensor, numbers: Any, op: ReduceOp, async_op: bool, kind: str,
) -> Any:  # fmt: skip
    counts = [numbers.size // group.size()] * group.size()

    def steps() -> Steps:
        store(output, (yield from reduced_part(group, numbers, op, counts)), "reduce_scatter")

    return run(group, f"reduce_scatter({op.name}) of {kind}", steps(), async_op, numbers)


def reduce_scatter(
    output: Tensor, input_list: list[Tensor], op: Any = ReduceOp.SUM, group: Any = None,
    async_op: bool = False,
) -> Any:  # fmt: skip
    """Replace output by the reduction of the tensors that the ranks' lists hold for this rank."""
    chosen = member_group(group, "reduce_scatter")
    if chosen is None:
        return None
    check_reduction(op, filled(output, chosen, "output").dtype)
    numbers = _joined(_like(input_list, output, chosen, "input_list"), chosen)
    return _reduce_scatter(chosen, output, numbers, op, async_op, f"a list of {_kind(output)}")


def all_to_all_single(
    output: Tensor, input: Tensor, output_split_sizes: Any = None, input_split_sizes: Any = None,
    group: Any = None, async_op: bool = False,
) -> Any:  # fmt: skip
    """Send part r of input (along dim 0) to rank r; fill output with what each rank sent here.

    The sizes say how many rows each part has; None divides the rows equally.
    Raises: ValueError if the sizes do not fit; DistError if a rank sends another number of rows
    than output_split_sizes expects.
    """
    chosen = member_group(group, "all_to_all_single")
    if chosen is None:
        return None
    numbers, result = flat(input, chosen, "input"), filled(output, chosen, "output")
    size = chosen.size()
    out = row_counts(input, input_split_sizes, size, "input_split_sizes")
    into = row_counts(output, output_split_sizes, size, "output_split_sizes")
    if input.shape[1:] != output.shape[1:] or input.dtype is not output.dtype:
        raise ValueError(f"all_to_all_single: {_kind(input)} does not fit {_kind(output)}")
    row = numbers.itemsize * int(np.prod(input.shape[1:], dtype=np.int64))
    if _may_overlap(result, numbers):  # what arrives must not change what is still to be sent
        result = xp_of(result).empty_like(result)

    def steps() -> Steps:
        yield from exchanged(chosen, numbers, out, result, into, row)
        store(output, result, "all_to_all_single")

    rows = f"{input.dtype.name} rows of shape {tuple(input.shape[1:])}"
    return run(chosen, f"all_to_all_single of {rows}", steps(), async_op, numbers)


def row_counts(tensor: Tensor, sizes: Any, ranks: int, name: str) -> list[int]:
    """How many rows the part of each rank has.

    Raises: ValueError if the sizes do not fit, or the rows cannot be divided equally.
    """
    rows = tensor.shape[0] if tensor.ndim else 1
    if not sizes:
        if rows % ranks:
            raise ValueError(
                f"all_to_all_single: {rows} rows cannot be divided among {ranks} ranks; pass {name}"
            )
        return [rows // ranks] * ranks
    counts = [int(n) for n in sizes]
    if len(counts) != ranks or sum(counts) != rows or min(counts) < 0:
        raise ValueError(f"{name}: expected {ranks} sizes that add up to {rows}, got {counts}")
    return counts


def exchanged(
    group: ProcessGroup, numbers: Any, out: list[int], result: Any, into: list[int], row: int,
) -> Steps:  # fmt: skip
    """Fill result with the parts that each rank sent here; out, into: rows; row: bytes of one.

    Raises: ValueError on every rank if the rows of one do not fit.
    """
    if isinstance(numbers, np.ndarray):  # on GPUs the sizes are compared by the watchdog's limit
        yield from _rows_agree(group, out, into)
    yield group.lane(numbers).all_to_all(
        as_bytes(numbers), [n * row for n in out], as_bytes(result), [n * row for n in into]
    )


def _rows_agree(group: ProcessGroup, out: list[int], into: list[int]) -> Steps:
    size = group.size()
    announced, coming = np.array(out, np.int64), np.empty(size, np.int64)
    yield group.transport.all_to_all(as_bytes(announced), [8] * size, as_bytes(coming), [8] * size)
    wrong = coming.tolist() != into
    anywhere = yield from all_gathered(group, np.array([wrong], np.uint8))
    if anywhere.any():
        detail = f"the ranks send {coming.tolist()} rows here, expected {into}; " if wrong else ""
        ranks = [group.ranks[r] for r in np.flatnonzero(anywhere)]
        raise ValueError(f"all_to_all: {detail}sizes do not fit on rank {ranks}")


def all_to_all(
    output_tensor_list: list[Tensor], input_tensor_list: list[Tensor], group: Any = None,
    async_op: bool = False,
) -> Any:  # fmt: skip
    """Send the list's tensor r to rank r; fill the other list with what each rank sent here.

    Raises: ValueError if the lists do not fit.
    """
    chosen = member_group(group, "all_to_all")
    if chosen is None:
        return None
    lists = output_tensor_list, input_tensor_list
    for name, tensors in zip(("output_tensor_list", "input_tensor_list"), lists, strict=True):
        if len(tensors) != chosen.size():
            raise ValueError(
                f"{name}: expected one tensor per rank, {chosen.size()}, got {len(tensors)}"
            )
    numbers, result = _joined(input_tensor_list, chosen), _joined(output_tensor_list, chosen)
    out, into = ([t.numel() for t in tensors] for tensors in (lists[1], lists[0]))

    def steps() -> Steps:
        yield from exchanged(chosen, numbers, out, result, into, numbers.itemsize)
        parts = xp_of(result).split(result, np.cumsum(into)[:-1].tolist())
        for tensor, part in zip(output_tensor_list, parts, strict=True):
            store(tensor, part, "all_to_all")

    dtype = input_tensor_list[0].dtype.name
    return run(chosen, f"all_to_all of {dtype}", steps(), async_op, numbers)
