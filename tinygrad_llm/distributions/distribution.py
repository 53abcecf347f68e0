"""Distribution: what all of them share, and how their parameters are made tensors."""

from __future__ import annotations

from typing import Any, ClassVar

from ..autograd import no_grad
from ..functions.creation.filled import scalar_tensor
from ..functions.elementary import exp, log, log1p, sqrt
from ..functions.selection import clamp
from ..functions.shape.broadcast import broadcast_shapes, broadcast_tensors
from ..tensor import Size, Tensor, dtypes
from .constraints import Constraint

__all__ = ["Distribution", "broadcast_all", "probs_to_logits"]


class Distribution:
    """A distribution over values of event_shape, one for each element of batch_shape.

    A subclass sets its parameters, names their constraints in arg_constraints, and then calls
    `super().__init__(batch_shape)`.
    validate_args: whether parameters and values are checked; default True, see
    set_default_validate_args.
    Raises: ValueError for a parameter that its constraint does not allow.
    """

    arg_constraints: ClassVar[dict[str, Constraint]] = {}
    support: Any = None  # the constraint of its values
    has_rsample = False  # whether a gradient can flow through a sample
    has_enumerate_support = False
    _validate_args: bool = True

    def __init__(
        self, batch_shape: Any = (), event_shape: Any = (), validate_args: bool | None = None
    ) -> None:
        self.batch_shape, self.event_shape = Size(batch_shape), Size(event_shape)
        if validate_args is not None:
            self._validate_args = validate_args
        if not self._validate_args:
            return
        for name, constraint in self.arg_constraints.items():
            if name in vars(self) and not _allowed(constraint, vars(self)[name]):
                value = vars(self)[name]
                raise ValueError(
                    f"Expected parameter {name} (Tensor of shape {tuple(value.shape)}) of "
                    f"distribution {self!r} to satisfy the constraint {constraint}, but found "
                    f"invalid values:\n{value}"
                )

    @staticmethod
    def set_default_validate_args(value: bool) -> None:
        """Check parameters and values from now on, or not.

        Raises: ValueError if value is not a bool.
        """
        if value not in (True, False):
            raise ValueError(f"validate_args must be True or False, got {value!r}")
        Distribution._validate_args = value

    def expand(self, batch_shape: Any) -> Any:
        """The same distribution repeated to a larger batch_shape, without a copy."""
        new = object.__new__(type(self))
        new.__dict__.update(self.__dict__)
        for name, constraint in self.arg_constraints.items():
            if name in vars(self):
                value = vars(self)[name]
                last = value.shape[value.ndim - constraint.event_dim :]
                new.__dict__[name] = value.expand(*batch_shape, *last)
        new.batch_shape = Size(batch_shape)
        return new

    # ------------------------------------------------------------------------------ its values
    def sample(self, sample_shape: Any = ()) -> Tensor:
        """Random values (sample_shape, batch_shape), outside the graph."""
        with no_grad():
            return self.rsample(sample_shape)

    def rsample(self, sample_shape: Any = ()) -> Tensor:
        """Random values through which gradients reach the parameters.

        Raises: NotImplementedError if this distribution has none.
        """
        raise NotImplementedError(
            f"{type(self).__name__} has no rsample: no gradient flows through its samples; use "
            "sample() and log_prob()"
        )

    def log_prob(self, value: Tensor) -> Tensor:
        """The logarithm of the probability, or of its density, at value."""
        raise NotImplementedError(f"{type(self).__name__} has no log_prob")

    def entropy(self) -> Tensor:
        """−E[log p], in nats: (batch_shape)."""
        raise NotImplementedError(f"{type(self).__name__} has no entropy")

    def cdf(self, value: Tensor) -> Tensor:
        """The probability of at most value."""
        raise NotImplementedError(f"{type(self).__name__} has no cdf")

    def icdf(self, value: Tensor) -> Tensor:
        """The number that is not exceeded with probability value."""
        raise NotImplementedError(f"{type(self).__name__} has no icdf")

    def enumerate_support(self, expand: bool = True) -> Tensor:
        """All values, along a new first dimension."""
        raise NotImplementedError(f"{type(self).__name__} has no finite support")

    def perplexity(self) -> Tensor:
        """e to the power of the entropy."""
        return exp(self.entropy())

    @property
    def mean(self) -> Tensor:
        """The mean: (batch_shape)."""
        raise NotImplementedError(f"{type(self).__name__} has no mean")

    @property
    def variance(self) -> Tensor:
        """The variance: (batch_shape)."""
        raise NotImplementedError(f"{type(self).__name__} has no variance")

    @property
    def stddev(self) -> Tensor:
        """The standard deviation: (batch_shape)."""
        return sqrt(self.variance)

    # --------------------------------------------------------------------------------- helpers
    def _shape(self, sample_shape: Any) -> tuple[int, ...]:
        return (*sample_shape, *self.batch_shape, *self.event_shape)

    def _check(self, value: Any) -> Any:
        """The value, if it is one of this distribution's.

        Raises: ValueError if it is not, or does not broadcast with the distribution's shape.
        """
        if not self._validate_args:
            return value
        if not isinstance(value, Tensor):
            raise ValueError("The value argument to log_prob must be a Tensor")
        mine = (*self.batch_shape, *self.event_shape)
        try:
            broadcast_shapes(value.shape, mine)
        except RuntimeError:
            raise ValueError(
                "Value is not broadcastable with batch_shape+event_shape: "
                f"{value.shape} vs {Size(mine)}."
            ) from None
        if not _allowed(self.support, value):
            raise ValueError(
                f"Expected value argument (Tensor of shape {tuple(value.shape)}) to be within the "
                f"support ({self.support}) of the distribution {self!r}, but found invalid "
                f"values:\n{value}"
            )
        return value

    def __repr__(self) -> str:
        given = {name: vars(self)[name] for name in self.arg_constraints if name in vars(self)}
        text = ", ".join(f"{n}: {v if v.numel() == 1 else v.shape}" for n, v in given.items())
        return f"{type(self).__name__}({text})"


def _allowed(constraint: Constraint, value: Tensor) -> bool:
    return value.is_meta or bool(constraint.check(value.detach()).all())


def broadcast_all(*values: Any) -> list[Tensor]:
    """Numbers and tensors as tensors of one shape; numbers get the first tensor's dtype.

    Raises: ValueError for what is neither.
    """
    like = next((v for v in values if isinstance(v, Tensor)), None)
    tensors = []
    for value in values:
        if not isinstance(value, Tensor):
            if not isinstance(value, int | float) and not hasattr(value, "__float__"):
                raise ValueError(
                    "Input arguments must all be instances of Number, torch.Tensor, got "
                    f"{type(value).__name__}"
                )
            dtype = dtypes.get_default_dtype() if like is None else like.dtype
            device = None if like is None else like.device
            value = scalar_tensor(float(value), dtype=dtype, device=device)
        tensors.append(value)
    return list(broadcast_tensors(*tensors))


def probs_to_logits(probs: Tensor, is_binary: bool = False) -> Tensor:
    """log p, or for a coin log p − log(1 − p); p is kept an epsilon of its dtype off 0 and 1."""
    eps = dtypes.finfo(probs.dtype).eps
    p = clamp(probs, min=eps, max=1 - eps)
    return log(p) - log1p(-p) if is_binary else log(p)
