"""The sequence divided among tensor-parallel ranks: norms and dropout of a part of the tokens.

Between the layers that are divided, each rank has all channels of T/R tokens in place of all of T:
norms, dropout and residual sums are computed once, and what they keep for backward takes 1/R of the
memory. The all-reduce behind a row-parallel layer becomes a reduce-scatter, and before the next
column-parallel layer stands an all-gather: together they send as much.

    norm (part) -> all-gather -> column-parallel ... row-parallel -> reduce-scatter -> + x (part)

Source: Korthikanti et al. 2022, "Reducing Activation Recomputation in Large Transformer Models".
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from .... import ops
from ....functions.dropout import keep_mask
from ....nn import Dropout
from ....nn.module import Module
from ....tensor import Tensor
from ...nn.functional import copy_to_ranks, whole_length
from ...parts import own_part
from ..placements import Placement
from .layouts import check_placement, copies_to_ranks, dim_of, redistributed, shared_gather
from .styles import ParallelStyle, other_parameters, take_weights

__all__ = [
    "PrepareModuleInput", "PrepareModuleInputOutput", "PrepareModuleOutput", "SequenceParallel",
]  # fmt: skip


class SequenceParallel(ParallelStyle):
    """A norm or a Dropout that gets a part of the sequence, and returns the same part.

    sequence_dim      the dimension of T in its input, 1 for (B, T, C)
    use_local_output  accepted: layers here return plain tensors
    A norm's parameters stay whole, and their gradients are summed over the ranks. Dropout draws the
    mask of the whole sequence on each rank and uses its part: with equal random streams, as they
    are after one manual_seed, the ranks drop what one process would, and the streams stay equal.
    A Dropout between layers that are divided along another dimension takes that one: heads are
    dimension 1 of weights (B, H, T, T).
    """

    def __init__(self, *, sequence_dim: int = 1, use_local_output: bool = False) -> None:
        self.sequence_dim = int(sequence_dim)

    def apply_to(self, module: Module, group: Any, source: int | None = 0) -> None:
        """Make the module's forward that of a part of the sequence."""
        take_weights(module, group, source)
        kind = type(module)
        base = _PartOfDropout if isinstance(module, Dropout) else _PartOfNorm
        module.__dict__["tp"] = (group, self.sequence_dim)
        module.__class__ = type(f"Sequence{kind.__name__}", (base, kind), {})

    def __repr__(self) -> str:
        return f"SequenceParallel(sequence_dim={self.sequence_dim})"


class _PartOfNorm:
    """A module whose parameters have terms of their gradients on all ranks."""

    def forward(self, *inputs: Any, **kwargs: Any) -> Any:
        """The module's forward; each rank's gradients of the parameters are terms of a sum."""
        group = self.__dict__["tp"][0]
        with other_parameters(self, lambda own: copies_to_ranks(own, group)):
            return super().forward(*inputs, **kwargs)  # type: ignore[misc]


class _PartOfDropout:
    """Dropout of a part of a tensor, with the mask that one process would draw for all of it."""

    def forward(self, input: Tensor) -> Tensor:
        """The part with zeros where the whole would have them."""
        p, (group, dim) = self.p, self.__dict__["tp"]  # type: ignore[attr-defined]
        if not self.training or p == 0.0:  # type: ignore[attr-defined]
            return input
        shape = list(input.shape)
        shape[dim] = whole_length(group, input, dim)
        mask = own_part(group, keep_mask(input, tuple(shape), p, in_memory=False), dim)
        return ops.Dropout.apply(input, mask, p=p)


# --------------------------------------------------------------------- inputs and outputs of others
Layouts = Placement | Sequence[Placement | None] | None


def _as_tuple(layouts: Layouts, name: str) -> tuple[Placement | None, ...]:
    """A layout for each value, None for one that stays as it is.

    Raises: ValueError for what is not a layout.
    """
    given = (layouts,) if layouts is None or isinstance(layouts, Placement) else tuple(layouts)
    return tuple(None if each is None else check_placement(name, each) for each in given)


class _Change:
    """The layouts before and after of several values."""

    def __init__(self, name: str, what: str, before: Layouts, after: Layouts) -> None:
        self.what = what
        self.before, self.after = _as_tuple(before, name), _as_tuple(after, name)
        if len(self.before) != len(self.after):
            raise AssertionError(f"{what}_layouts and desired_{what}_layouts should have same "
                                 "length!")  # fmt: skip

    def of_all(self, values: tuple, group: Any) -> tuple:
        """The values in their new layouts.

        Raises: ValueError if there are more or fewer than layouts.
        """
        if len(values) != len(self.before):
            raise ValueError(f"module {self.what}s and {self.what}_layouts should have same "
                             "length!")  # fmt: skip
        triples = zip(values, self.before, self.after, strict=True)
        return tuple(changed(value, a, b, group) for value, a, b in triples)

    def __repr__(self) -> str:
        return f"{self.what}_layouts={self.before}, desired_{self.what}_layouts={self.after}"


def changed(value: Any, before: Placement | None, after: Placement | None, group: Any) -> Any:
    """One value in another layout; itself if one of the layouts is None."""
    if before is None or after is None or not isinstance(value, Tensor):
        return value
    a, b = dim_of(before, value.ndim), dim_of(after, value.ndim)
    if a is not None and b is None:
        return shared_gather(value, a, group)
    y = redistributed(value, before, after, group)
    if b is None and a is None:  # the layers within share one sum of the gradients' terms
        y = value.view(value.shape)
        y.__dict__["_for_parts"] = (group, copy_to_ranks(value, group))
    return y


class PrepareModuleInput(ParallelStyle):
    """A module whose inputs come in one layout and are needed in another.

    input_layouts, desired_input_layouts    a layout, or a tuple with one for each positional input:
                                            Replicate(), Shard(dim), or None to leave it alone
    input_kwarg_layouts, desired_input_kwarg_layouts    the same for named inputs, as dicts
    use_local_output                        accepted: modules here get plain tensors
    Raises: AssertionError if the lengths differ; ValueError for other layouts.
    """

    def __init__(
        self, *, input_layouts: Layouts = None, desired_input_layouts: Layouts = None,
        input_kwarg_layouts: Mapping[str, Placement] | None = None,
        desired_input_kwarg_layouts: Mapping[str, Placement] | None = None,
        use_local_output: bool = False,
    ) -> None:  # fmt: skip
        name = type(self).__name__
        self.inputs = None
        if input_layouts is not None:
            if desired_input_layouts is None:
                raise AssertionError("desired module inputs should not be None!")
            self.inputs = _Change(name, "input", input_layouts, desired_input_layouts)
        self.named = dict(input_kwarg_layouts or {})
        self.desired_named = dict(desired_input_kwarg_layouts or {})
        if self.named and len(self.named) != len(self.desired_named):
            raise AssertionError(
                "input_kwarg_layouts and desired_input_kwarg_layouts should have same length!"
            )

    def apply_to(self, module: Module, group: Any, source: int | None = 0) -> None:
        """Change the layouts of the module's inputs before each call."""

        def prepare(module: Module, args: tuple, kwargs: dict[str, Any]) -> tuple:
            if self.inputs is not None:
                args = self.inputs.of_all(args, group)
            new = {
                name: changed(value, self.named.get(name), self.desired_named.get(name), group)
                for name, value in kwargs.items()
            }
            return args, new

        module.register_forward_pre_hook(prepare, with_kwargs=True)

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.inputs}, input_kwarg_layouts={self.named})"


class PrepareModuleOutput(ParallelStyle):
    """A module whose outputs leave it in one layout and are needed in another.

    output_layouts, desired_output_layouts  a layout, or a tuple with one for each output
    use_local_output                        accepted: modules here return plain tensors
    Raises: AssertionError if the lengths differ; ValueError for other layouts.
    """

    def __init__(
        self, *, output_layouts: Layouts, desired_output_layouts: Layouts,
        use_local_output: bool = True,
    ) -> None:  # fmt: skip
        name = type(self).__name__
        self.outputs = _Change(name, "output", output_layouts, desired_output_layouts)

    def apply_to(self, module: Module, group: Any, source: int | None = 0) -> None:
        """Change the layouts of the module's outputs after each call."""

        def prepare(module: Module, args: tuple, out: Any) -> Any:
            several = isinstance(out, tuple)
            new = self.outputs.of_all(out if several else (out,), group)
            return new if several and len(new) > 1 else new[0]

        module.register_forward_hook(prepare)

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.outputs})"


class PrepareModuleInputOutput(ParallelStyle):
    """PrepareModuleInput and PrepareModuleOutput of one module.

    The arguments are those of both; use_local_input is accepted too.
    """

    def __init__(
        self, *, input_layouts: Layouts = None, desired_input_layouts: Layouts = None,
        input_kwarg_layouts: Mapping[str, Placement] | None = None,
        desired_input_kwarg_layouts: Mapping[str, Placement] | None = None,
        use_local_input: bool = False, output_layouts: Layouts, desired_output_layouts: Layouts,
        use_local_output: bool = True,
    ) -> None:  # fmt: skip
        self.before = PrepareModuleInput(
            input_layouts=input_layouts, desired_input_layouts=desired_input_layouts,
            input_kwarg_layouts=input_kwarg_layouts,
            desired_input_kwarg_layouts=desired_input_kwarg_layouts,
        )  # fmt: skip
        self.after = PrepareModuleOutput(
            output_layouts=output_layouts, desired_output_layouts=desired_output_layouts
        )

    def apply_to(self, module: Module, group: Any, source: int | None = 0) -> None:
        """Change the layouts of the module's inputs and outputs."""
        self.before.apply_to(module, group, source)
        self.after.apply_to(module, group, source)

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.before.inputs}, {self.after.outputs})"
