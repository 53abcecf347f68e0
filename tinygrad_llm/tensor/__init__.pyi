"""Tensor with all its methods, for editors and mypy. Written by tests/tensor_stub.py; do not edit.

Headings name the file that holds the methods under them.
"""

# ruff: noqa
# fmt: off
import builtins
from collections.abc import Sequence
from typing import Any
from . import dtypes as dtypes
from ..autograd.hooks import Hook
from ..autograd.hooks import HookHandle
from ..functions.linear_algebra import Slogdet
from ..functions.return_types import Aminmax
from ..functions.return_types import ValuesIndices
from ..functions.storage import UntypedStorage
from .device import DeviceLike
from .device import device as _device
from .device import device as device
from .dtypes import DtypeLike
from .size import Size as Size
from .size import SizeLike

class Tensor:
    """An array with a gradient."""

    is_sparse: builtins.bool
    is_sparse_csr: builtins.bool
    is_quantized: builtins.bool
    is_mkldnn: builtins.bool
    is_nested: builtins.bool
    is_mps: builtins.bool
    is_xpu: builtins.bool
    is_xla: builtins.bool
    is_mtia: builtins.bool
    is_ipu: builtins.bool
    is_maia: builtins.bool
    is_vulkan: builtins.bool
    layout: Any
    array: Any
    _grad: Tensor | None
    _needs: builtins.bool
    _op: Any
    _out: builtins.int
    _view_of: Tensor | None
    _tick: builtins.int
    __array_priority__: builtins.int
    def __init__(self, *args: Any, **kwargs: Any) -> None: ...
    @property
    def shape(self) -> Size: ...
    @property
    def dtype(self) -> dtypes.dtype: ...
    @property
    def device(self) -> _device: ...
    @property
    def ndim(self) -> builtins.int: ...
    @property
    def is_cuda(self) -> builtins.bool: ...
    @property
    def is_cpu(self) -> builtins.bool: ...
    @property
    def is_meta(self) -> builtins.bool: ...
    def get_device(self) -> builtins.int:
        """The number of the tensor's GPU; -1 on the CPU."""
    @property
    def itemsize(self) -> builtins.int: ...
    @property
    def nbytes(self) -> builtins.int: ...
    def dim(self) -> builtins.int:
        """The number of dimensions."""
    def size(self, dim: builtins.int | None = None) -> Any:
        """The shape, or the size of one dimension."""
    def numel(self) -> builtins.int:
        """How many elements there are."""
    def nelement(self) -> builtins.int:
        """How many elements there are."""
    def element_size(self) -> builtins.int:
        """Bytes of one element."""
    def stride(self, dim: builtins.int | None = None) -> Any:
        """Steps from one element to the next along each dimension, in elements."""
    def is_contiguous(self, memory_format: Any = None) -> builtins.bool:
        """Whether the elements lie in memory in row order without gaps, or in another format's."""
    def data_ptr(self) -> builtins.int:
        """The address of the first element; 0 on the meta device."""
    def is_floating_point(self) -> builtins.bool:
        """Whether the dtype is a floating one, which alone can have gradients."""
    def is_complex(self) -> builtins.bool:
        """Whether the dtype is a complex one."""
    @property
    def requires_grad(self) -> builtins.bool: ...
    @requires_grad.setter
    def requires_grad(self, value: builtins.bool) -> None:
        """Set whether gradients are wanted."""
    def requires_grad_(self, requires_grad: builtins.bool = True) -> Tensor:
        """Set requires_grad in place and return the tensor."""
    @property
    def grad(self) -> Tensor | None: ...
    @grad.setter
    def grad(self, value: Tensor | None) -> None:
        """Set the gradient."""
    @grad.deleter
    def grad(self) -> None: ...
    @property
    def is_leaf(self) -> builtins.bool: ...
    @property
    def grad_fn(self) -> Any: ...
    def _up_to_date(self) -> Tensor:
        """The tensor itself; a view whose base changed in place gets its new history first."""
    @property
    def data(self) -> Tensor:
        """The same memory as a tensor outside the graph; assign to it to replace the numbers."""
    @data.setter
    def data(self, value: Tensor) -> None: ...
    def detach(self) -> Tensor:
        """The same memory as a tensor outside the graph: no gradient flows through it."""
    def numpy(self, *, force: builtins.bool = False) -> Any:
        """The numbers as a NumPy array that shares this tensor's memory."""
    def __array__(self, dtype: Any = None, copy: builtins.bool | None = None) -> Any: ...
    def __dlpack__(self, **options: Any) -> Any: ...
    def __dlpack_device__(self) -> Any: ...
    def item(self) -> builtins.bool | builtins.int | builtins.float:
        """The only element as a Python number."""
    def tolist(self) -> Any:
        """The numbers as nested Python lists, or as one Python number for a 0-d tensor."""
    def _number(self) -> Any:
        """item() for float() and int(), whose error is a ValueError."""
    def __float__(self) -> builtins.float: ...
    def __complex__(self) -> complex: ...
    def __int__(self) -> builtins.int: ...
    def __index__(self) -> builtins.int: ...
    def __bool__(self) -> builtins.bool: ...
    def __len__(self) -> builtins.int: ...
    def __iter__(self) -> Any: ...
    def __hash__(self) -> builtins.int: ...
    def __dir__(self) -> list[str]: ...
    def __repr__(self) -> str: ...
    def __format__(self, spec: str) -> str: ...
    def __deepcopy__(self, memo: dict[builtins.int, Any]) -> Tensor: ...
    def __copy__(self) -> Tensor:
        """A leaf that shares the memory, as copy.copy returns in PyTorch."""
    def __reduce_ex__(self, protocol: Any) -> Any:
        """How a tensor is sent to another process; to keep it in a file use tinygrad_llm.save."""

    # autograd/engine.py
    def backward(
        self,
        gradient: Any = None,
        retain_graph: builtins.bool = False,
        create_graph: builtins.bool = False,
    ) -> None:
        """Fill .grad of every leaf that the tensor was made from: ∂self/∂leaf, added to what is there."""

    # autograd/hooks.py
    def register_hook(self, hook: Hook) -> HookHandle:
        """Call hook(gradient) whenever the tensor's gradient has been computed."""
    def register_post_accumulate_grad_hook(self, hook: Hook) -> HookHandle:
        """Call hook(leaf) whenever backward() has added to the leaf's .grad, for example to make an"""
    def retain_grad(self) -> None:
        """Ask backward to keep .grad of a tensor that an op made; a leaf always keeps its .grad."""
    @property
    def retains_grad(self) -> builtins.bool:
        """Whether retain_grad() was called on a tensor that an op made."""

    # functions/activation.py
    def relu(self, inplace: builtins.bool = False) -> Tensor:
        """max(x, 0); the gradient at 0 is 0. Integers stay integers."""
    def relu_(self) -> Tensor:
        """max(x, 0) in place."""
    def hardshrink(self, lambd: builtins.float = 0.5) -> Tensor:
        """x where |x| > lambd, else 0."""

    # functions/arithmetic.py
    def add(self, other: Any, *, alpha: Any = 1) -> Tensor:
        """input + alpha·other, element by element; shapes broadcast and dtypes promote."""
    def __add__(self, other: Any) -> Tensor:
        """input + alpha·other, element by element; shapes broadcast and dtypes promote."""
    def add_(self, other: Any, *, alpha: Any = 1) -> Tensor:
        """add in place: the result is written into this tensor."""
    def __iadd__(self, other: Any) -> Tensor:
        """add in place: the result is written into this tensor."""
    def __radd__(self, other: Any) -> Tensor: ...
    def sub(self, other: Any, *, alpha: Any = 1) -> Tensor:
        """input − alpha·other, element by element; shapes broadcast and dtypes promote."""
    def subtract(self, other: Any, *, alpha: Any = 1) -> Tensor:
        """input − alpha·other, element by element; shapes broadcast and dtypes promote."""
    def __sub__(self, other: Any) -> Tensor:
        """input − alpha·other, element by element; shapes broadcast and dtypes promote."""
    def sub_(self, other: Any, *, alpha: Any = 1) -> Tensor:
        """sub in place: the result is written into this tensor."""
    def subtract_(self, other: Any, *, alpha: Any = 1) -> Tensor:
        """subtract in place: the result is written into this tensor."""
    def __isub__(self, other: Any) -> Tensor:
        """sub in place: the result is written into this tensor."""
    def __rsub__(self, other: Any) -> Tensor: ...
    def mul(self, other: Any) -> Tensor:
        """input·other, element by element; shapes broadcast and dtypes promote."""
    def multiply(self, other: Any) -> Tensor:
        """input·other, element by element; shapes broadcast and dtypes promote."""
    def __mul__(self, other: Any) -> Tensor:
        """input·other, element by element; shapes broadcast and dtypes promote."""
    def mul_(self, other: Any) -> Tensor:
        """mul in place: the result is written into this tensor."""
    def multiply_(self, other: Any) -> Tensor:
        """multiply in place: the result is written into this tensor."""
    def __imul__(self, other: Any) -> Tensor:
        """mul in place: the result is written into this tensor."""
    def __rmul__(self, other: Any) -> Tensor: ...
    def div(self, other: Any, *, rounding_mode: str | None = None) -> Tensor:
        """input / other, element by element. Integers become the default floating dtype."""
    def divide(self, other: Any, *, rounding_mode: str | None = None) -> Tensor:
        """input / other, element by element. Integers become the default floating dtype."""
    def true_divide(self, other: Any, *, rounding_mode: str | None = None) -> Tensor:
        """input / other, element by element. Integers become the default floating dtype."""
    def div_(self, other: Any, *, rounding_mode: str | None = None) -> Tensor:
        """div in place: the result is written into this tensor."""
    def divide_(self, other: Any, *, rounding_mode: str | None = None) -> Tensor:
        """divide in place: the result is written into this tensor."""
    def __itruediv__(self, other: Any) -> Tensor:
        """div in place: the result is written into this tensor."""
    def true_divide_(self, other: Any, *, rounding_mode: str | None = None) -> Tensor:
        """true_divide in place: the result is written into this tensor."""
    def __truediv__(self, other: Any) -> Tensor: ...
    def __rtruediv__(self, other: Any) -> Tensor: ...
    def neg(self) -> Tensor:
        """−input, element by element."""
    def negative(self) -> Tensor:
        """−input, element by element."""
    def __neg__(self) -> Tensor:
        """−input, element by element."""
    def neg_(self) -> Tensor:
        """neg in place: the result is written into this tensor."""
    def negative_(self) -> Tensor:
        """negative in place: the result is written into this tensor."""
    def __pos__(self) -> Tensor:
        """The tensor itself."""
    def pow(self, exponent: Any) -> Tensor:
        """inputᵉˣᵖᵒⁿᵉⁿᵗ, element by element; either may be a number, not both."""
    def __pow__(self, exponent: Any) -> Tensor:
        """inputᵉˣᵖᵒⁿᵉⁿᵗ, element by element; either may be a number, not both."""
    def pow_(self, exponent: Any) -> Tensor:
        """pow in place: the result is written into this tensor."""
    def __ipow__(self, exponent: Any) -> Tensor:
        """pow in place: the result is written into this tensor."""
    def __rpow__(self, other: Any) -> Tensor: ...
    def square(self) -> Tensor:
        """x²."""
    def square_(self) -> Tensor:
        """square in place: the result is written into this tensor."""
    def reciprocal(self) -> Tensor:
        """1/x."""
    def reciprocal_(self) -> Tensor:
        """reciprocal in place: the result is written into this tensor."""
    def abs(self) -> Tensor:
        """|x|; the gradient at 0 is 0."""
    def absolute(self) -> Tensor:
        """|x|; the gradient at 0 is 0."""
    def __abs__(self) -> Tensor:
        """|x|; the gradient at 0 is 0."""
    def abs_(self) -> Tensor:
        """abs in place: the result is written into this tensor."""
    def absolute_(self) -> Tensor:
        """absolute in place: the result is written into this tensor."""
    def lerp(self, end: Tensor, weight: Any) -> Tensor:
        """input + weight·(end − input), a number or a tensor of weights."""
    def lerp_(self, end: Tensor, weight: Any) -> Tensor:
        """lerp in place: the result is written into this tensor."""
    def addcmul(self, tensor1: Tensor, tensor2: Tensor, *, value: Any = 1) -> Tensor:
        """input + value·tensor1·tensor2."""
    def addcmul_(self, tensor1: Tensor, tensor2: Tensor, *, value: Any = 1) -> Tensor:
        """addcmul in place: the result is written into this tensor."""
    def addcdiv(self, tensor1: Tensor, tensor2: Tensor, *, value: Any = 1) -> Tensor:
        """input + value·tensor1 / tensor2."""
    def addcdiv_(self, tensor1: Tensor, tensor2: Tensor, *, value: Any = 1) -> Tensor:
        """addcdiv in place: the result is written into this tensor."""

    # functions/comparison.py
    def eq(self, other: Any) -> Tensor:
        """input == other, element by element; nan equals nothing. other may be a number."""
    def eq_(self, other: Any) -> Tensor:
        """eq in place: the result is written into this tensor."""
    def ne(self, other: Any) -> Tensor:
        """input != other, element by element. other may be a number."""
    def not_equal(self, other: Any) -> Tensor:
        """input != other, element by element. other may be a number."""
    def ne_(self, other: Any) -> Tensor:
        """ne in place: the result is written into this tensor."""
    def not_equal_(self, other: Any) -> Tensor:
        """not_equal in place: the result is written into this tensor."""
    def lt(self, other: Any) -> Tensor:
        """input < other, element by element. other may be a number."""
    def less(self, other: Any) -> Tensor:
        """input < other, element by element. other may be a number."""
    def lt_(self, other: Any) -> Tensor:
        """lt in place: the result is written into this tensor."""
    def less_(self, other: Any) -> Tensor:
        """less in place: the result is written into this tensor."""
    def le(self, other: Any) -> Tensor:
        """input <= other, element by element. other may be a number."""
    def less_equal(self, other: Any) -> Tensor:
        """input <= other, element by element. other may be a number."""
    def le_(self, other: Any) -> Tensor:
        """le in place: the result is written into this tensor."""
    def less_equal_(self, other: Any) -> Tensor:
        """less_equal in place: the result is written into this tensor."""
    def gt(self, other: Any) -> Tensor:
        """input > other, element by element. other may be a number."""
    def greater(self, other: Any) -> Tensor:
        """input > other, element by element. other may be a number."""
    def gt_(self, other: Any) -> Tensor:
        """gt in place: the result is written into this tensor."""
    def greater_(self, other: Any) -> Tensor:
        """greater in place: the result is written into this tensor."""
    def ge(self, other: Any) -> Tensor:
        """input >= other, element by element. other may be a number."""
    def greater_equal(self, other: Any) -> Tensor:
        """input >= other, element by element. other may be a number."""
    def ge_(self, other: Any) -> Tensor:
        """ge in place: the result is written into this tensor."""
    def greater_equal_(self, other: Any) -> Tensor:
        """greater_equal in place: the result is written into this tensor."""
    def __eq__(self, other: Any) -> Tensor: ...  # type: ignore[override]
    def __ne__(self, other: Any) -> Tensor: ...  # type: ignore[override]
    def __lt__(self, other: Any) -> Tensor: ...
    def __le__(self, other: Any) -> Tensor: ...
    def __gt__(self, other: Any) -> Tensor: ...
    def __ge__(self, other: Any) -> Tensor: ...
    def __contains__(self, element: Any) -> builtins.bool: ...
    def isnan(self) -> Tensor:
        """Whether not a number, element by element."""
    def isinf(self) -> Tensor:
        """Whether infinite, of either sign, element by element."""
    def isfinite(self) -> Tensor:
        """Whether neither infinite nor nan, element by element."""
    def isposinf(self) -> Tensor:
        """Whether +infinity, element by element."""
    def isneginf(self) -> Tensor:
        """Whether −infinity, element by element."""
    def isclose(
        self,
        other: Tensor,
        rtol: builtins.float = 1e-05,
        atol: builtins.float = 1e-08,
        equal_nan: builtins.bool = False,
    ) -> Tensor:
        """Whether |input − other| ≤ atol + rtol·|other|, element by element."""
    def allclose(
        self,
        other: Tensor,
        rtol: builtins.float = 1e-05,
        atol: builtins.float = 1e-08,
        equal_nan: builtins.bool = False,
    ) -> builtins.bool:
        """Whether every element is close, as in `isclose`; a Python bool."""
    def equal(self, other: Tensor) -> builtins.bool:
        """Whether two tensors have the same shape and the same elements; a Python bool."""

    # functions/convert.py
    def to(
        self,
        *args: Any,
        dtype: DtypeLike = None,
        device: DeviceLike = None,
        copy: builtins.bool = False,
        non_blocking: builtins.bool = False,
        memory_format: Any = None,
    ) -> Tensor:
        """In another dtype, on another device, or both: x.to("cuda"), x.to(float64), x.to(other)."""
    def type_as(self, other: Tensor) -> Tensor:
        """In other's dtype."""
    def type(self, dtype: Any = None, non_blocking: builtins.bool = False) -> Any:
        """Without an argument the type's name, such as "torch.FloatTensor"; else as .to(dtype)."""
    def cpu(self) -> Tensor:
        """On the CPU."""
    def cuda(self, device: DeviceLike = None, non_blocking: builtins.bool = False) -> Tensor:
        """On a GPU."""
    def float(self) -> Tensor: ...
    def double(self) -> Tensor: ...
    def half(self) -> Tensor: ...
    def bfloat16(self) -> Tensor: ...
    def long(self) -> Tensor: ...
    def int(self) -> Tensor: ...
    def short(self) -> Tensor: ...
    def char(self) -> Tensor: ...
    def byte(self) -> Tensor: ...
    def bool(self) -> Tensor: ...
    def pin_memory(self, device: DeviceLike = None) -> Tensor:
        """The tensor itself: memory is not pinned here."""
    def contiguous(self, memory_format: Any = None) -> Tensor:
        """The tensor itself if its elements lie in row order, else a copy that does."""
    def clone(self, *, memory_format: Any = None) -> Tensor:
        """A copy with its own memory, in the same layout unless memory_format says another."""

    # functions/creation/filled.py
    def new_zeros(
        self,
        *size: SizeLike,
        dtype: DtypeLike = None,
        device: DeviceLike = None,
        requires_grad: builtins.bool = False,
    ) -> Tensor:
        """Zeros of a shape, of this tensor's dtype and device unless given."""
    def new_ones(
        self,
        *size: SizeLike,
        dtype: DtypeLike = None,
        device: DeviceLike = None,
        requires_grad: builtins.bool = False,
    ) -> Tensor:
        """Ones of a shape, of this tensor's dtype and device unless given."""
    def new_empty(
        self,
        *size: SizeLike,
        dtype: DtypeLike = None,
        device: DeviceLike = None,
        requires_grad: builtins.bool = False,
    ) -> Tensor:
        """A tensor of a shape, of this one's dtype and device unless given, its numbers not set."""
    def new_full(
        self,
        size: SizeLike,
        fill_value: Any,
        *,
        dtype: DtypeLike = None,
        device: DeviceLike = None,
        requires_grad: builtins.bool = False,
    ) -> Tensor:
        """One number in a shape, of this tensor's dtype and device unless given."""
    def new_tensor(
        self,
        data: Any,
        *,
        dtype: DtypeLike = None,
        device: DeviceLike = None,
        requires_grad: builtins.bool = False,
    ) -> Tensor:
        """tensor(data), of this tensor's dtype and device unless given."""

    # functions/diagonal.py
    def tril(self, diagonal: builtins.int = 0) -> Tensor:
        """The lower triangle, the diagonal (moved up by `diagonal`) included; 0 elsewhere."""
    def triu(self, diagonal: builtins.int = 0) -> Tensor:
        """The upper triangle, the diagonal (moved up by `diagonal`) included; 0 elsewhere."""
    def diagonal(
        self, offset: builtins.int = 0, dim1: builtins.int = 0, dim2: builtins.int = 1
    ) -> Tensor:
        """The elements x[i, i + offset] of two dimensions, as a new last dimension; a view."""
    def diag(self, diagonal: builtins.int = 0) -> Tensor:
        """A vector as the diagonal of a matrix of zeros, or a matrix's diagonal as a vector."""
    def trace(self) -> Tensor:
        """The sum of a matrix's diagonal."""

    # functions/elementary.py
    def exp(self) -> Tensor:
        """eˣ, element by element."""
    def exp_(self) -> Tensor:
        """exp in place: the result is written into this tensor."""
    def expm1(self) -> Tensor:
        """eˣ − 1, exact near 0."""
    def expm1_(self) -> Tensor:
        """expm1 in place: the result is written into this tensor."""
    def log(self) -> Tensor:
        """The natural logarithm; −inf at 0, nan below."""
    def log_(self) -> Tensor:
        """log in place: the result is written into this tensor."""
    def log1p(self) -> Tensor:
        """ln(1 + x), exact near 0."""
    def log1p_(self) -> Tensor:
        """log1p in place: the result is written into this tensor."""
    def log2(self) -> Tensor:
        """The logarithm to base 2."""
    def log2_(self) -> Tensor:
        """log2 in place: the result is written into this tensor."""
    def log10(self) -> Tensor:
        """The logarithm to base 10."""
    def log10_(self) -> Tensor:
        """log10 in place: the result is written into this tensor."""
    def sqrt(self) -> Tensor:
        """The square root; nan below 0."""
    def sqrt_(self) -> Tensor:
        """sqrt in place: the result is written into this tensor."""
    def rsqrt(self) -> Tensor:
        """1/√x."""
    def rsqrt_(self) -> Tensor:
        """rsqrt in place: the result is written into this tensor."""
    def tanh(self) -> Tensor:
        """The hyperbolic tangent."""
    def tanh_(self) -> Tensor:
        """tanh in place: the result is written into this tensor."""
    def sigmoid(self) -> Tensor:
        """1/(1 + e⁻ˣ)."""
    def sigmoid_(self) -> Tensor:
        """sigmoid in place: the result is written into this tensor."""
    def sin(self) -> Tensor:
        """The sine of an angle in radians."""
    def sin_(self) -> Tensor:
        """sin in place: the result is written into this tensor."""
    def cos(self) -> Tensor:
        """The cosine of an angle in radians."""
    def cos_(self) -> Tensor:
        """cos in place: the result is written into this tensor."""
    def tan(self) -> Tensor:
        """The tangent of an angle in radians; its derivative is 1 + tan²x."""
    def tan_(self) -> Tensor:
        """tan in place: the result is written into this tensor."""
    def erf(self) -> Tensor:
        """The error function 2/√π·∫₀ˣ e^(−t²) dt."""
    def erf_(self) -> Tensor:
        """erf in place: the result is written into this tensor."""
    def exp2(self) -> Tensor:
        """2ˣ."""
    def exp2_(self) -> Tensor:
        """exp2 in place: the result is written into this tensor."""
    def erfc(self) -> Tensor:
        """1 − erf x, without the loss of digits for large x; its derivative is −2/√π·e^(−x²)."""
    def erfc_(self) -> Tensor:
        """erfc in place: the result is written into this tensor."""
    def sinh(self) -> Tensor:
        """(eˣ − e⁻ˣ)/2; its derivative is cosh x."""
    def sinh_(self) -> Tensor:
        """sinh in place: the result is written into this tensor."""
    def cosh(self) -> Tensor:
        """(eˣ + e⁻ˣ)/2; its derivative is sinh x."""
    def cosh_(self) -> Tensor:
        """cosh in place: the result is written into this tensor."""
    def logit(self, eps: builtins.float | None = None) -> Tensor:
        """log(x/(1 − x)), the inverse of sigmoid; with eps, x is first clamped to [eps, 1 − eps]."""
    def logit_(self, eps: builtins.float | None = None) -> Tensor:
        """logit in place: the result is written into this tensor."""
    def logaddexp(self, other: Tensor) -> Tensor:
        """log(eˣ + eʸ) = max(x, y) + log(1 + exp(−|x − y|)), which can't overflow."""
    def hypot(self, other: Tensor) -> Tensor:
        """√(x² + y²), without overflow of the squares; the derivatives are x/√(…) and y/√(…)."""
    def hypot_(self, other: Tensor) -> Tensor:
        """hypot in place: the result is written into this tensor."""
    def xlogy(self, other: Any) -> Tensor:
        """x·log y, and 0 where x is 0, except where y is nan; the derivatives are log y and x/y."""
    def xlogy_(self, other: Any) -> Tensor:
        """xlogy in place: the result is written into this tensor."""
    def deg2rad(self) -> Tensor:
        """Degrees as radians: x·π/180."""
    def deg2rad_(self) -> Tensor:
        """deg2rad in place: the result is written into this tensor."""
    def rad2deg(self) -> Tensor:
        """Radians as degrees: x·180/π."""
    def rad2deg_(self) -> Tensor:
        """rad2deg in place: the result is written into this tensor."""

    # functions/gather.py
    def gather(
        self, dim: builtins.int, index: Tensor, *, sparse_grad: builtins.bool = False
    ) -> Tensor:
        """Along dim, the elements that index (int64, same number of dims) points at."""
    def take_along_dim(self, indices: Tensor, dim: builtins.int | None = None) -> Tensor:
        """Along dim, the elements that indices point at, which broadcast; None: in row order over all."""
    def scatter_(
        self,
        dim: builtins.int,
        index: Tensor,
        src: Any = None,
        *,
        value: Any = None,
        reduce: str | None = None,
    ) -> Tensor:
        """scatter in place."""
    def scatter(
        self,
        dim: builtins.int,
        index: Tensor,
        src: Any = None,
        *,
        value: Any = None,
        reduce: str | None = None,
    ) -> Tensor:
        """input with out[index[i, j], j] = src[i, j] (for dim 0); a number may be src or value."""
    def scatter_add(self, dim: builtins.int, index: Tensor, src: Tensor) -> Tensor:
        """input with out[index[i, j], j] += src[i, j] (for dim 0); duplicates add up."""
    def scatter_add_(self, dim: builtins.int, index: Tensor, src: Tensor) -> Tensor:
        """scatter_add in place."""
    def scatter_reduce(
        self,
        dim: builtins.int,
        index: Tensor,
        src: Tensor,
        reduce: str,
        *,
        include_self: builtins.bool = True,
    ) -> Tensor:
        """input with the values of src that index sends to one element reduced to one, along dim."""
    def scatter_reduce_(
        self,
        dim: builtins.int,
        index: Tensor,
        src: Tensor,
        reduce: str,
        *,
        include_self: builtins.bool = True,
    ) -> Tensor:
        """scatter_reduce in place."""

    # functions/index.py
    def __getitem__(self, index: Any) -> Tensor:
        """x[index]: a view for integers, slices, None and ...; a copy for index tensors and masks."""
    def __setitem__(self, index: Any, value: Any) -> None:
        """x[index] = value, in place; value is a number or a tensor that broadcasts to x[index]."""
    def narrow(self, dim: builtins.int, start: builtins.int, length: builtins.int) -> Tensor:
        """The slices start … start + length − 1 along dim; a view."""
    def narrow_copy(self, dim: builtins.int, start: builtins.int, length: builtins.int) -> Tensor:
        """A contiguous copy of narrow's slices."""
    def select(self, dim: builtins.int, index: builtins.int) -> Tensor:
        """The slice number `index` along dim, without the dimension; a view."""

    # functions/index_along.py
    def index_select(self, dim: builtins.int, index: Tensor) -> Tensor:
        """The slices along dim that index (1-D, int64) names, in its order."""
    def masked_select(self, mask: Tensor) -> Tensor:
        """The elements where the boolean mask (which may broadcast) is True, in one dimension."""
    def take(self, index: Tensor) -> Tensor:
        """The elements at positions counted in row order, in index's shape."""
    def put_(self, index: Tensor, source: Tensor, accumulate: builtins.bool = False) -> Tensor:
        """Write source at positions counted in row order, in place; accumulate adds instead."""
    def index_add_(
        self, dim: builtins.int, index: Tensor, source: Tensor, *, alpha: Any = 1
    ) -> Tensor:
        """index_add in place."""
    def index_add(
        self, dim: builtins.int, index: Tensor, source: Tensor, *, alpha: Any = 1
    ) -> Tensor:
        """input with the slices of source added at the positions along dim that index names."""
    def index_copy_(self, dim: builtins.int, index: Tensor, source: Tensor) -> Tensor:
        """index_copy in place."""
    def put(self, index: Tensor, source: Tensor, accumulate: builtins.bool = False) -> Tensor:
        """put_ on a copy."""
    def index_copy(self, dim: builtins.int, index: Tensor, source: Tensor) -> Tensor:
        """input with the slices along dim that index (int64) names replaced by those of source."""
    def index_fill_(self, dim: builtins.int, index: Tensor, value: Any) -> Tensor:
        """index_fill in place."""
    def index_fill(self, dim: builtins.int, index: Tensor, value: Any) -> Tensor:
        """input with the slices along dim that index (int64) names set to value, a number or a 0-d"""
    def index_put_(
        self, indices: Sequence[Tensor], values: Tensor, accumulate: builtins.bool = False
    ) -> Tensor:
        """input[indices] = values in place; accumulate adds, also where a position repeats."""
    def index_put(
        self, indices: Sequence[Tensor], values: Tensor, accumulate: builtins.bool = False
    ) -> Tensor:
        """index_put_ on a copy."""
    def masked_scatter_(self, mask: Tensor, source: Tensor) -> Tensor:
        """The first elements of source, in row order, written where the mask is True, in place."""
    def masked_scatter(self, mask: Tensor, source: Tensor) -> Tensor:
        """masked_scatter_ on a copy; input and mask broadcast together."""

    # functions/inplace.py
    def _refresh_history(self) -> Tensor:
        """Give a view that was taken before its base changed the history that it has now."""
    def copy_(self, src: Any, non_blocking: builtins.bool = False) -> Tensor:
        """Overwrite with src's values, which broadcast and are cast to this dtype and device."""
    def fill_(self, value: Any) -> Tensor:
        """Set every element to value, a number or a 0-d tensor."""
    def zero_(self) -> Tensor:
        """Set every element to 0."""
    def detach_(self) -> Tensor:
        """Take this tensor out of the graph: it becomes a leaf without a gradient."""
    def squeeze_(self, dim: Any = None) -> Tensor:
        """squeeze in place: the same memory under another shape."""
    def unsqueeze_(self, dim: builtins.int) -> Tensor:
        """unsqueeze in place: the same memory under another shape."""
    def t_(self) -> Tensor:
        """t in place: the same memory under another shape."""
    def transpose_(self, dim0: builtins.int, dim1: builtins.int) -> Tensor:
        """transpose in place: the same memory under another shape."""
    def swapaxes_(self, dim0: builtins.int, dim1: builtins.int) -> Tensor:
        """transpose in place: the same memory under another shape."""
    def swapdims_(self, dim0: builtins.int, dim1: builtins.int) -> Tensor:
        """transpose in place: the same memory under another shape."""
    def tril_(self, diagonal: builtins.int = 0) -> Tensor:
        """tril in place."""
    def triu_(self, diagonal: builtins.int = 0) -> Tensor:
        """triu in place."""

    # functions/inverse.py
    def asin(self) -> Tensor:
        """The angle in [−π/2, π/2] whose sine is x; nan outside of [−1, 1]."""
    def arcsin(self) -> Tensor:
        """The angle in [−π/2, π/2] whose sine is x; nan outside of [−1, 1]."""
    def asin_(self) -> Tensor:
        """asin in place: the result is written into this tensor."""
    def arcsin_(self) -> Tensor:
        """arcsin in place: the result is written into this tensor."""
    def acos(self) -> Tensor:
        """The angle in [0, π] whose cosine is x; nan outside of [−1, 1]."""
    def arccos(self) -> Tensor:
        """The angle in [0, π] whose cosine is x; nan outside of [−1, 1]."""
    def acos_(self) -> Tensor:
        """acos in place: the result is written into this tensor."""
    def arccos_(self) -> Tensor:
        """arccos in place: the result is written into this tensor."""
    def atan(self) -> Tensor:
        """The angle in [−π/2, π/2] whose tangent is x; the derivative is 1/(1 + x²)."""
    def arctan(self) -> Tensor:
        """The angle in [−π/2, π/2] whose tangent is x; the derivative is 1/(1 + x²)."""
    def atan_(self) -> Tensor:
        """atan in place: the result is written into this tensor."""
    def arctan_(self) -> Tensor:
        """arctan in place: the result is written into this tensor."""
    def asinh(self) -> Tensor:
        """The inverse of sinh, log(x + √(x² + 1)); the derivative is 1/√(1 + x²)."""
    def arcsinh(self) -> Tensor:
        """The inverse of sinh, log(x + √(x² + 1)); the derivative is 1/√(1 + x²)."""
    def asinh_(self) -> Tensor:
        """asinh in place: the result is written into this tensor."""
    def arcsinh_(self) -> Tensor:
        """arcsinh in place: the result is written into this tensor."""
    def acosh(self) -> Tensor:
        """The inverse of cosh for x ≥ 1, log(x + √(x² − 1)); nan below."""
    def arccosh(self) -> Tensor:
        """The inverse of cosh for x ≥ 1, log(x + √(x² − 1)); nan below."""
    def acosh_(self) -> Tensor:
        """acosh in place: the result is written into this tensor."""
    def arccosh_(self) -> Tensor:
        """arccosh in place: the result is written into this tensor."""
    def atanh(self) -> Tensor:
        """The inverse of tanh, ½·log((1 + x)/(1 − x)); ±inf at ±1, nan beyond."""
    def arctanh(self) -> Tensor:
        """The inverse of tanh, ½·log((1 + x)/(1 − x)); ±inf at ±1, nan beyond."""
    def atanh_(self) -> Tensor:
        """atanh in place: the result is written into this tensor."""
    def arctanh_(self) -> Tensor:
        """arctanh in place: the result is written into this tensor."""
    def atan2(self, other: Tensor) -> Tensor:
        """The angle in [−π, π] of the point (other, input): y first, then x."""
    def arctan2(self, other: Tensor) -> Tensor:
        """The angle in [−π, π] of the point (other, input): y first, then x."""
    def atan2_(self, other: Tensor) -> Tensor:
        """atan2 in place: the result is written into this tensor."""
    def arctan2_(self, other: Tensor) -> Tensor:
        """arctan2 in place: the result is written into this tensor."""
    def logaddexp2(self, other: Tensor) -> Tensor:
        """log₂(2ˣ + 2ʸ), which can't overflow; the derivatives are 2ˣ/(2ˣ + 2ʸ) and 2ʸ/(2ˣ + 2ʸ)."""
    def copysign(self, other: Any) -> Tensor:
        """|input| with the sign of other, a tensor or a number; −0 counts as negative."""
    def copysign_(self, other: Any) -> Tensor:
        """copysign in place: the result is written into this tensor."""

    # functions/linalg.py
    def matmul(self, other: Tensor) -> Tensor:
        """The matrix product of every combination PyTorch knows."""
    def __matmul__(self, other: Tensor) -> Tensor:
        """The matrix product of every combination PyTorch knows."""
    def __rmatmul__(self, other: Any) -> Tensor: ...
    def mm(self, mat2: Tensor) -> Tensor:
        """The product of two matrices."""
    def bmm(self, mat2: Tensor) -> Tensor:
        """The products of two batches of matrices: (B, N, K)·(B, K, M) -> (B, N, M)."""
    def mv(self, vec: Tensor) -> Tensor:
        """A matrix times a vector: (N, K)·(K) -> (N)."""
    def dot(self, tensor: Tensor) -> Tensor:
        """Σ input·tensor of two vectors of the same length."""
    def vdot(self, other: Tensor) -> Tensor:
        """dot; it would take the complex conjugate, but there are no complex numbers here."""
    def inner(self, other: Tensor) -> Tensor:
        """Products summed over the last dimensions: (..., K), (..., K) -> (..., ...)."""
    def outer(self, vec2: Tensor) -> Tensor:
        """Every product of an element of one vector and one of the other: (N), (M) -> (N, M)."""
    def ger(self, vec2: Tensor) -> Tensor:
        """Every product of an element of one vector and one of the other: (N), (M) -> (N, M)."""
    def addmm(self, mat1: Tensor, mat2: Tensor, *, beta: Any = 1, alpha: Any = 1) -> Tensor:
        """beta·input + alpha·(mat1·mat2)."""
    def addmm_(self, mat1: Tensor, mat2: Tensor, *, beta: Any = 1, alpha: Any = 1) -> Tensor:
        """addmm in place: the result is written into this tensor."""
    def baddbmm(self, batch1: Tensor, batch2: Tensor, *, beta: Any = 1, alpha: Any = 1) -> Tensor:
        """beta·input + alpha·(batch1·batch2), batch by batch."""
    def baddbmm_(self, batch1: Tensor, batch2: Tensor, *, beta: Any = 1, alpha: Any = 1) -> Tensor:
        """baddbmm in place: the result is written into this tensor."""

    # functions/linear_algebra.py
    def inverse(self) -> Tensor:
        """The inverse of each matrix (..., N, N), the solution of A·X = 1."""
    def slogdet(self) -> Slogdet:
        """(sign, logabsdet) of each matrix (..., N, N): the determinant's sign and log |det A|."""
    def logdet(self) -> Tensor:
        """log det A of each matrix: nan where the determinant is negative."""
    def det(self) -> Tensor:
        """The determinant of each matrix (..., N, N); a singular one has no gradient here."""

    # functions/logic.py
    def logical_and(self, other: Tensor) -> Tensor:
        """Whether both are true (not 0), element by element; a bool tensor."""
    def logical_and_(self, other: Tensor) -> Tensor:
        """logical_and in place: the result is written into this tensor."""
    def logical_or(self, other: Tensor) -> Tensor:
        """Whether one or both are true (not 0), element by element; a bool tensor."""
    def logical_or_(self, other: Tensor) -> Tensor:
        """logical_or in place: the result is written into this tensor."""
    def logical_xor(self, other: Tensor) -> Tensor:
        """Whether just one is true (not 0), element by element; a bool tensor."""
    def logical_xor_(self, other: Tensor) -> Tensor:
        """logical_xor in place: the result is written into this tensor."""
    def logical_not(self) -> Tensor:
        """Whether false (0), element by element; a bool tensor."""
    def logical_not_(self) -> Tensor:
        """logical_not in place: the result is written into this tensor."""
    def bitwise_and(self, other: Any) -> Tensor:
        """input & other on the bits of integers, or on truth values."""
    def __and__(self, other: Any) -> Tensor:
        """input & other on the bits of integers, or on truth values."""
    def __rand__(self, other: Any) -> Tensor:
        """input & other on the bits of integers, or on truth values."""
    def bitwise_and_(self, other: Any) -> Tensor:
        """bitwise_and in place: the result is written into this tensor."""
    def __iand__(self, other: Any) -> Tensor:
        """bitwise_and in place: the result is written into this tensor."""
    def bitwise_or(self, other: Any) -> Tensor:
        """input | other on the bits of integers, or on truth values."""
    def __or__(self, other: Any) -> Tensor:
        """input | other on the bits of integers, or on truth values."""
    def __ror__(self, other: Any) -> Tensor:
        """input | other on the bits of integers, or on truth values."""
    def bitwise_or_(self, other: Any) -> Tensor:
        """bitwise_or in place: the result is written into this tensor."""
    def __ior__(self, other: Any) -> Tensor:
        """bitwise_or in place: the result is written into this tensor."""
    def bitwise_xor(self, other: Any) -> Tensor:
        """input ^ other on the bits of integers, or on truth values."""
    def __xor__(self, other: Any) -> Tensor:
        """input ^ other on the bits of integers, or on truth values."""
    def __rxor__(self, other: Any) -> Tensor:
        """input ^ other on the bits of integers, or on truth values."""
    def bitwise_xor_(self, other: Any) -> Tensor:
        """bitwise_xor in place: the result is written into this tensor."""
    def __ixor__(self, other: Any) -> Tensor:
        """bitwise_xor in place: the result is written into this tensor."""
    def bitwise_left_shift(self, other: Any) -> Tensor:
        """input << other on the bits of integers."""
    def __lshift__(self, other: Any) -> Tensor:
        """input << other on the bits of integers."""
    def bitwise_left_shift_(self, other: Any) -> Tensor:
        """bitwise_left_shift in place: the result is written into this tensor."""
    def __ilshift__(self, other: Any) -> Tensor:
        """bitwise_left_shift in place: the result is written into this tensor."""
    def bitwise_right_shift(self, other: Any) -> Tensor:
        """input >> other on the bits of integers."""
    def __rshift__(self, other: Any) -> Tensor:
        """input >> other on the bits of integers."""
    def bitwise_right_shift_(self, other: Any) -> Tensor:
        """bitwise_right_shift in place: the result is written into this tensor."""
    def __irshift__(self, other: Any) -> Tensor:
        """bitwise_right_shift in place: the result is written into this tensor."""
    def bitwise_not(self) -> Tensor:
        """~input: the opposite of truth values, every bit of integers turned over."""
    def __invert__(self) -> Tensor:
        """~input: the opposite of truth values, every bit of integers turned over."""
    def bitwise_not_(self) -> Tensor:
        """bitwise_not in place: the result is written into this tensor."""
    def any(self, dim: Any = None, keepdim: builtins.bool = False) -> Tensor:
        """Whether one element over dim (an int, a tuple, None for all) is true; False for none."""
    def all(self, dim: Any = None, keepdim: builtins.bool = False) -> Tensor:
        """Whether every element over dim (an int, a tuple, None for all) is true; True for none."""

    # functions/order.py
    def aminmax(
        self, *, dim: builtins.int | None = None, keepdim: builtins.bool = False
    ) -> Aminmax:
        """(min, max) over dim or over all; equal elements share the gradient."""
    def sort(
        self,
        dim: builtins.int = -1,
        descending: builtins.bool = False,
        stable: builtins.bool = False,
    ) -> ValuesIndices:
        """(values, indices) in order along dim; equal elements keep their order."""
    def argsort(
        self,
        dim: builtins.int = -1,
        descending: builtins.bool = False,
        stable: builtins.bool = False,
    ) -> Tensor:
        """The positions that put x in order along dim; int64."""
    def topk(
        self,
        k: builtins.int,
        dim: builtins.int = -1,
        largest: builtins.bool = True,
        sorted: builtins.bool = True,
    ) -> ValuesIndices:
        """(values, indices) of the k largest (or smallest) along dim, in order."""
    def msort(self) -> Tensor:
        """The elements in order along the first dimension."""
    def kthvalue(
        self, k: builtins.int, dim: builtins.int = -1, keepdim: builtins.bool = False
    ) -> ValuesIndices:
        """(values, indices) of the k-th smallest along dim, counted from 1; nan is the largest."""
    def median(self, dim: Any = None, keepdim: builtins.bool = False) -> Any:
        """The middle element, the lower of two; with dim, (values, indices) along it. NaN if one is."""
    def nanmedian(self, dim: Any = None, keepdim: builtins.bool = False) -> Any:
        """median of the elements that are not NaN; NaN if all are."""
    def quantile(
        self,
        q: Any,
        dim: builtins.int | None = None,
        keepdim: builtins.bool = False,
        *,
        interpolation: str = 'linear',
    ) -> Tensor:
        """The number below which a share q of the elements along dim lies; of all elements without dim."""

    # functions/properties.py
    def is_nonzero(self) -> builtins.bool:
        """Whether the only element is not 0."""
    def is_signed(self) -> builtins.bool:
        """Whether the tensor's dtype has negative numbers."""
    def is_same_size(self, other: Tensor) -> builtins.bool:
        """Whether two tensors have the same shape."""
    def is_set_to(self, tensor: Tensor) -> builtins.bool:
        """Whether two tensors show the same memory in the same way."""
    @property
    def real(self) -> Tensor:
        """The real parts, a view; a real tensor itself."""
    @property
    def imag(self) -> Tensor:
        """The imaginary parts, a view."""
    def conj(self) -> Tensor:
        """a − bi of a + bi; a real tensor itself."""
    def is_conj(self) -> builtins.bool: ...
    def is_neg(self) -> builtins.bool: ...
    def is_shared(self) -> builtins.bool: ...
    def is_pinned(self) -> builtins.bool: ...
    def is_distributed(self) -> builtins.bool: ...

    # functions/rare.py
    def positive(self) -> Tensor:
        """x itself."""
    def resolve_conj(self) -> Tensor:
        """x itself: conjugates are computed when they are asked for."""
    def resolve_neg(self) -> Tensor:
        """x itself: negations are computed when they are asked for."""
    def isreal(self) -> Tensor:
        """Whether the imaginary part is 0, element by element: true of every real number."""
    def angle(self) -> Tensor:
        """The angle of a complex number; of a real one π below 0, else 0, and nan of nan."""
    def logcumsumexp(self, dim: builtins.int) -> Tensor:
        """log Σ exp(x) over the elements up to each place along dim, in log₂ n passes."""
    def adjoint(self) -> Tensor:
        """The last two dimensions swapped, and complex numbers conjugated."""
    def addmv(self, mat: Tensor, vec: Tensor, *, beta: Any = 1, alpha: Any = 1) -> Tensor:
        """beta·input + alpha·(mat·vec)."""
    def addmv_(self, mat: Tensor, vec: Tensor, *, beta: Any = 1, alpha: Any = 1) -> Tensor:
        """addmv in place: the result is written into this tensor."""
    def addr(self, vec1: Tensor, vec2: Tensor, *, beta: Any = 1, alpha: Any = 1) -> Tensor:
        """beta·input + alpha·(vec1·vec2ᵀ)."""
    def addr_(self, vec1: Tensor, vec2: Tensor, *, beta: Any = 1, alpha: Any = 1) -> Tensor:
        """addr in place: the result is written into this tensor."""
    def matrix_power(self, n: builtins.int) -> Tensor:
        """A·A·…·A, n times, of a square matrix or a batch of them; n = 0 the identity."""
    def diag_embed(
        self, offset: builtins.int = 0, dim1: builtins.int = -2, dim2: builtins.int = -1
    ) -> Tensor:
        """Matrices whose diagonals are the rows of input: (..., N) -> (..., M, M), M = N + |offset|."""
    def diagflat(self, offset: builtins.int = 0) -> Tensor:
        """A matrix whose diagonal are all elements of input."""
    def gcd(self, other: Tensor) -> Tensor:
        """The greatest common divisor of integers, element by element."""
    def gcd_(self, other: Tensor) -> Tensor:
        """gcd in place: the result is written into this tensor."""
    def lcm(self, other: Tensor) -> Tensor:
        """The least common multiple of integers, element by element."""
    def lcm_(self, other: Tensor) -> Tensor:
        """lcm in place: the result is written into this tensor."""
    def split_with_sizes(self, split_sizes: Any, dim: builtins.int = 0) -> tuple[Tensor, ...]:
        """split into parts of these sizes."""
    def unique_consecutive(
        self,
        return_inverse: builtins.bool = False,
        return_counts: builtins.bool = False,
        dim: builtins.int | None = None,
    ) -> Any:
        """The values of runs of equal ones, in their order; with dim, of equal slices along it."""

    # functions/reductions.py
    def sum(
        self,
        dim: builtins.int | Sequence[builtins.int] | None = None,
        keepdim: builtins.bool = False,
        *,
        dtype: DtypeLike = None,
    ) -> Tensor:
        """The sum over dim (an int, a tuple, or None for all). Integers and booleans become int64."""
    def mean(
        self,
        dim: builtins.int | Sequence[builtins.int] | None = None,
        keepdim: builtins.bool = False,
        *,
        dtype: DtypeLike = None,
    ) -> Tensor:
        """The mean over dim (an int, a tuple, or None for all)."""
    def var(
        self,
        dim: builtins.int | Sequence[builtins.int] | None = None,
        unbiased: builtins.bool | None = None,
        keepdim: builtins.bool = False,
        *,
        correction: Any = 1,
    ) -> Tensor:
        """The variance over dim: Σ (x − μ)² / (n − correction); unbiased=False is correction=0."""
    def std(
        self,
        dim: builtins.int | Sequence[builtins.int] | None = None,
        unbiased: builtins.bool | None = None,
        keepdim: builtins.bool = False,
        *,
        correction: Any = 1,
    ) -> Tensor:
        """The standard deviation over dim, the root of the variance."""
    def var_mean(
        self, dim: builtins.int | Sequence[builtins.int] | None = None, **options: Any
    ) -> tuple[Tensor, Tensor]:
        """Variance and mean over dim."""
    def std_mean(
        self, dim: builtins.int | Sequence[builtins.int] | None = None, **options: Any
    ) -> tuple[Tensor, Tensor]:
        """Standard deviation and mean over dim."""
    def max(
        self,
        dim: builtins.int | Tensor | None = None,
        keepdim: builtins.bool = False,
        *,
        other: Any = None,
    ) -> Any:
        """The largest element; with dim, (values, indices) along it, the first of equals."""
    def min(
        self,
        dim: builtins.int | Tensor | None = None,
        keepdim: builtins.bool = False,
        *,
        other: Any = None,
    ) -> Any:
        """The smallest element; with dim, (values, indices) along it, the first of equals."""
    def amax(
        self, dim: builtins.int | Sequence[builtins.int] = (), keepdim: builtins.bool = False
    ) -> Tensor:
        """The largest elements over dims; equal elements share the gradient."""
    def amin(
        self, dim: builtins.int | Sequence[builtins.int] = (), keepdim: builtins.bool = False
    ) -> Tensor:
        """The smallest elements over dims; equal elements share the gradient."""
    def argmax(self, dim: builtins.int | None = None, keepdim: builtins.bool = False) -> Tensor:
        """The position of the largest element along dim, or in row order over all; int64."""
    def argmin(self, dim: builtins.int | None = None, keepdim: builtins.bool = False) -> Tensor:
        """The position of the smallest element along dim, or in row order over all; int64."""
    def cumsum(self, dim: builtins.int, *, dtype: DtypeLike = None) -> Tensor:
        """Running sums along dim."""
    def cumsum_(self, dim: builtins.int, *, dtype: DtypeLike = None) -> Tensor:
        """cumsum in place: the result is written into this tensor."""
    def prod(
        self,
        dim: builtins.int | None = None,
        keepdim: builtins.bool = False,
        *,
        dtype: DtypeLike = None,
    ) -> Tensor:
        """The product of all elements, or along one dim. Integers and booleans become int64."""
    def norm(
        self,
        p: Any = 'fro',
        dim: builtins.int | Sequence[builtins.int] | None = None,
        keepdim: builtins.bool = False,
        dtype: DtypeLike = None,
    ) -> Tensor:
        """(Σ |x|ᵖ)^(1/p) over dim: p = 2 (the default, the length), any number, inf or −inf."""
    def dist(self, other: Tensor, p: builtins.float = 2.0) -> Tensor:
        """The p-norm of input − other."""
    def diff(
        self,
        n: builtins.int = 1,
        dim: builtins.int = -1,
        prepend: Tensor | None = None,
        append: Tensor | None = None,
    ) -> Tensor:
        """Differences of neighbours along dim, n times over; prepend and append are joined first."""
    def nansum(
        self,
        dim: builtins.int | Sequence[builtins.int] | None = None,
        keepdim: builtins.bool = False,
        *,
        dtype: DtypeLike = None,
    ) -> Tensor:
        """The sum, in which nan counts as 0."""
    def nanmean(
        self,
        dim: builtins.int | Sequence[builtins.int] | None = None,
        keepdim: builtins.bool = False,
        *,
        dtype: DtypeLike = None,
    ) -> Tensor:
        """The mean of the elements that are not nan; nan if all are."""

    # functions/rounding.py
    def floor(self) -> Tensor:
        """The next whole number below; the gradient is 0."""
    def floor_(self) -> Tensor:
        """floor in place: the result is written into this tensor."""
    def ceil(self) -> Tensor:
        """The next whole number above; the gradient is 0."""
    def ceil_(self) -> Tensor:
        """ceil in place: the result is written into this tensor."""
    def trunc(self) -> Tensor:
        """The next whole number towards 0; the gradient is 0."""
    def fix(self) -> Tensor:
        """The next whole number towards 0; the gradient is 0."""
    def trunc_(self) -> Tensor:
        """trunc in place: the result is written into this tensor."""
    def fix_(self) -> Tensor:
        """fix in place: the result is written into this tensor."""
    def round(self, *, decimals: builtins.int = 0) -> Tensor:
        """The nearest number with so many decimals, a half to the even one; the gradient is 0."""
    def round_(self, *, decimals: builtins.int = 0) -> Tensor:
        """round in place: the result is written into this tensor."""
    def frac(self) -> Tensor:
        """The number minus its whole part, with the sign of the number."""
    def frac_(self) -> Tensor:
        """frac in place: the result is written into this tensor."""
    def sign(self) -> Tensor:
        """−1, 0 or 1 for negative, 0 (or nan) and positive; the gradient is 0."""
    def sgn(self) -> Tensor:
        """−1, 0 or 1 for negative, 0 (or nan) and positive; the gradient is 0."""
    def sign_(self) -> Tensor:
        """sign in place: the result is written into this tensor."""
    def sgn_(self) -> Tensor:
        """sgn in place: the result is written into this tensor."""
    def signbit(self) -> Tensor:
        """Whether negative, −0.0 included; a bool tensor."""
    def remainder(self, other: Any) -> Tensor:
        """input − ⌊input / other⌋·other, with other's sign, as Python's %."""
    def __mod__(self, other: Any) -> Tensor:
        """input − ⌊input / other⌋·other, with other's sign, as Python's %."""
    def remainder_(self, other: Any) -> Tensor:
        """remainder in place: the result is written into this tensor."""
    def __imod__(self, other: Any) -> Tensor:
        """remainder in place: the result is written into this tensor."""
    def __rmod__(self, other: Any) -> Tensor: ...
    def fmod(self, other: Any) -> Tensor:
        """As `remainder`, but the quotient is rounded towards 0: the result has input's sign."""
    def fmod_(self, other: Any) -> Tensor:
        """fmod in place: the result is written into this tensor."""
    def floor_divide(self, other: Any) -> Tensor:
        """⌊input / other⌋, outside the graph."""
    def __floordiv__(self, other: Any) -> Tensor:
        """⌊input / other⌋, outside the graph."""
    def floor_divide_(self, other: Any) -> Tensor:
        """floor_divide in place: the result is written into this tensor."""
    def __ifloordiv__(self, other: Any) -> Tensor:
        """floor_divide in place: the result is written into this tensor."""
    def __rfloordiv__(self, other: Any) -> Tensor: ...

    # functions/running.py
    def cumprod(self, dim: builtins.int, *, dtype: DtypeLike = None) -> Tensor:
        """Running products along dim. Integers and booleans become int64."""
    def cumprod_(self, dim: builtins.int, *, dtype: DtypeLike = None) -> Tensor:
        """cumprod in place: the result is written into this tensor."""
    def cummax(self, dim: builtins.int) -> ValuesIndices:
        """(values, indices): the largest element up to each place along dim, the last of equals."""
    def cummin(self, dim: builtins.int) -> ValuesIndices:
        """(values, indices): the smallest element up to each place along dim, the last of equals."""

    # functions/sampling.py
    def bernoulli(self, p: Any = None, *, generator: Any = None) -> Tensor:
        """1 with the probability in input, or with p, else 0; of input's shape and dtype."""
    def multinomial(
        self,
        num_samples: builtins.int,
        replacement: builtins.bool = False,
        *,
        generator: Any = None,
    ) -> Tensor:
        """Indices drawn with the weights in each row of input: (V) or (B, V) -> (..., n), int64."""
    def uniform_(self, *args: Any, generator: Any = None, **given: Any) -> Tensor:
        """Uniform numbers in [from, to) in place: uniform_(), uniform_(-1.0, 1.0), uniform_(to=2.0)."""
    def normal_(
        self, mean: builtins.float = 0.0, std: builtins.float = 1.0, *, generator: Any = None
    ) -> Tensor:
        """Normal numbers of that mean and standard deviation in place."""
    def exponential_(self, lambd: builtins.float = 1.0, *, generator: Any = None) -> Tensor:
        """Exponential numbers of rate lambd, so of mean 1/lambd, in place."""
    def bernoulli_(self, p: Any = 0.5, *, generator: Any = None) -> Tensor:
        """1 with probability p, a number or a tensor that broadcasts, else 0, in place."""
    def random_(self, *args: Any, generator: Any = None, **given: Any) -> Tensor:
        """Integers in place: random_(to) in [0, to), random_(from, to) in [from, to)."""

    # functions/search.py
    def nonzero(self, *, as_tuple: builtins.bool = False) -> Any:
        """The positions of the elements that are not 0, in row order."""
    def argwhere(self) -> Tensor:
        """As `nonzero`: (n, input.ndim), the positions of the elements that are not 0."""
    def count_nonzero(self, dim: Any = None) -> Tensor:
        """How many elements over dim (an int, a tuple, None for all) are not 0; int64."""
    def unique(
        self,
        sorted: builtins.bool = True,
        return_inverse: builtins.bool = False,
        return_counts: builtins.bool = False,
        dim: builtins.int | None = None,
    ) -> Any:
        """The different values in ascending order, or with dim the different slices along it."""
    def bincount(self, weights: Tensor | None = None, minlength: builtins.int = 0) -> Tensor:
        """How often each integer 0, 1, 2, ... occurs in a 1-D tensor, or the sum of its weights."""
    def isin(
        self,
        test_elements: Any,
        *,
        assume_unique: builtins.bool = False,
        invert: builtins.bool = False,
    ) -> Tensor:
        """Whether each element is one of test_elements, or is not if `invert`; a bool tensor."""
    def histc(
        self, bins: builtins.int = 100, min: builtins.float = 0, max: builtins.float = 0
    ) -> Tensor:
        """How many numbers lie in each of `bins` equal intervals from min to max: (bins)."""
    def histogram(
        self,
        bins: Any,
        *,
        range: Any = None,
        weight: Tensor | None = None,
        density: builtins.bool = False,
    ) -> Any:
        """(hist, bin_edges): what lies in each interval, the last one with both ends."""

    # functions/selection.py
    def clamp(self, min: Any = None, max: Any = None) -> Tensor:
        """x clamped to [min, max], numbers or tensors, either of which may be None."""
    def clip(self, min: Any = None, max: Any = None) -> Tensor:
        """x clamped to [min, max], numbers or tensors, either of which may be None."""
    def clamp_(self, min: Any = None, max: Any = None) -> Tensor:
        """clamp in place: the result is written into this tensor."""
    def clip_(self, min: Any = None, max: Any = None) -> Tensor:
        """clip in place: the result is written into this tensor."""
    def clamp_min(self, min: Any) -> Tensor:
        """max(x, min)."""
    def clamp_max(self, max: Any) -> Tensor:
        """min(x, max)."""
    def maximum(self, other: Tensor) -> Tensor:
        """The larger of two, element by element; a tie shares the gradient."""
    def minimum(self, other: Tensor) -> Tensor:
        """The smaller of two, element by element; a tie shares the gradient."""
    def fmax(self, other: Tensor) -> Tensor:
        """The larger of two, element by element; where one is nan, the other. A tie is the first's."""
    def fmin(self, other: Tensor) -> Tensor:
        """The smaller of two, element by element; where one is nan, the other. A tie is the first's."""
    def where(self, condition: Tensor, other: Any) -> Tensor: ...
    def masked_fill(self, mask: Tensor, value: Any) -> Tensor:
        """input with `value` (a number or a 0-d tensor) wherever the boolean mask is True."""
    def masked_fill_(self, mask: Tensor, value: Any) -> Tensor:
        """masked_fill in place: the result is written into this tensor."""
    def clamp_min_(self, min: Any) -> Tensor:
        """clamp_min in place."""
    def clamp_max_(self, max: Any) -> Tensor:
        """clamp_max in place."""
    def nan_to_num(
        self,
        nan: builtins.float | None = None,
        posinf: builtins.float | None = None,
        neginf: builtins.float | None = None,
    ) -> Tensor:
        """nan and the infinities replaced: by 0, by the dtype's greatest number and its least."""
    def nan_to_num_(
        self,
        nan: builtins.float | None = None,
        posinf: builtins.float | None = None,
        neginf: builtins.float | None = None,
    ) -> Tensor:
        """nan_to_num in place: the result is written into this tensor."""

    # functions/shape/broadcast.py
    def expand(self, *size: SizeLike) -> Tensor:
        """With dimensions of size 1 repeated to the sizes given, −1 leaves one as it is; a view."""
    def expand_as(self, other: Tensor) -> Tensor:
        """input.expand(other.shape)."""
    def broadcast_to(self, size: SizeLike) -> Tensor:
        """input.expand(size)."""

    # functions/shape/reorder.py
    def transpose(self, dim0: builtins.int, dim1: builtins.int) -> Tensor:
        """With two dimensions exchanged; a view."""
    def swapaxes(self, dim0: builtins.int, dim1: builtins.int) -> Tensor:
        """With two dimensions exchanged; a view."""
    def swapdims(self, dim0: builtins.int, dim1: builtins.int) -> Tensor:
        """With two dimensions exchanged; a view."""
    def permute(self, *dims: builtins.int | Sequence[builtins.int]) -> Tensor:
        """With the dimensions in the order given; a view."""
    def t(self) -> Tensor:
        """The transpose of a matrix; a 0-d or 1-d tensor as it is."""
    def movedim(self, source: Any, destination: Any) -> Tensor:
        """With the dimensions `source` moved to the positions `destination`."""
    def flip(self, *dims: builtins.int | Sequence[builtins.int]) -> Tensor:
        """In reverse order along dims (none of them for ()); a copy."""
    def roll(
        self,
        shifts: builtins.int | Sequence[builtins.int],
        dims: builtins.int | Sequence[builtins.int] | None = None,
    ) -> Tensor:
        """Moved along dims by shifts; elements that leave at one end enter at the other."""
    @property
    def T(self) -> Tensor:
        """All dimensions in reverse order; for a matrix the transpose."""
    @property
    def mT(self) -> Tensor:
        """The last two dimensions exchanged; one number is itself."""
    def fliplr(self) -> Tensor:
        """Columns in reverse order."""
    def flipud(self) -> Tensor:
        """Rows in reverse order."""
    def rot90(self, k: builtins.int = 1, dims: Any = (0, 1)) -> Tensor:
        """Turned by k quarter turns in the plane of two dimensions, from the first to the second."""
    @property
    def mH(self) -> Tensor:
        """x.mH: the last two dimensions swapped, and complex numbers conjugated."""
    @property
    def H(self) -> Tensor:
        """x.H: the adjoint of a matrix, or a 0-d tensor."""

    # functions/shape/repeat.py
    def repeat(self, *repeats: SizeLike) -> Tensor:
        """The tensor copied repeats[i] times along dimension i, like tiles."""
    def tile(self, *dims: SizeLike) -> Tensor:
        """As repeat; missing leading repeats count as 1."""
    def repeat_interleave(self, repeats: Any, dim: builtins.int | None = None) -> Tensor:
        """Each element repeated in place: [a, b] twice is [a, a, b, b]."""

    # functions/shape/split.py
    def unfold(self, dimension: builtins.int, size: builtins.int, step: builtins.int) -> Tensor:
        """The windows of `size` slices along a dimension, one every `step`: (..., n, ...) ->"""
    def tensor_split(
        self,
        indices_or_sections: Any = None,
        dim: builtins.int = 0,
        *,
        sections: Any = None,
        indices: Any = None,
    ) -> tuple[Tensor, ...]:
        """Pieces along dim: n of nearly one size, or cut at the positions listed."""
    def hsplit(self, indices_or_sections: Any) -> tuple[Tensor, ...]:
        """Pieces side by side: equal ones, or cut at the positions listed."""
    def vsplit(self, indices_or_sections: Any) -> tuple[Tensor, ...]:
        """Pieces below each other: equal ones, or cut at the positions listed."""
    def dsplit(self, indices_or_sections: Any) -> tuple[Tensor, ...]:
        """Pieces along the third dimension: equal ones, or cut at the positions listed."""
    def split(self, split_size_or_sections: Any, dim: builtins.int = 0) -> tuple[Tensor, ...]:
        """Pieces along dim: of one size (the last may be smaller), or of the sizes listed."""
    def chunk(self, chunks: builtins.int, dim: builtins.int = 0) -> tuple[Tensor, ...]:
        """At most `chunks` pieces along dim, all of one size except perhaps the last."""
    def unbind(self, dim: builtins.int = 0) -> tuple[Tensor, ...]:
        """The slices along dim, without it."""

    # functions/shape/views.py
    def reshape(self, *shape: SizeLike) -> Tensor:
        """The elements in row order in another shape; one size may be −1. A view where possible."""
    def view(self, *size: SizeLike | dtypes.dtype, dtype: DtypeLike = None) -> Tensor:
        """As reshape, but always a view; with a dtype the bytes as numbers of that dtype."""
    def view_as(self, other: Tensor) -> Tensor:
        """input.view(other.shape)."""
    def reshape_as(self, other: Tensor) -> Tensor:
        """input.reshape(other.shape)."""
    def flatten(self, start_dim: builtins.int = 0, end_dim: builtins.int = -1) -> Tensor:
        """Dimensions start_dim to end_dim as one."""
    def ravel(self) -> Tensor:
        """All elements in row order in one dimension."""
    def unflatten(self, dim: builtins.int, sizes: Any) -> Tensor:
        """One dimension as several; one size may be −1."""
    def squeeze(self, dim: builtins.int | Sequence[builtins.int] | None = None) -> Tensor:
        """Without the dimensions of size 1, all of them or those named."""
    def unsqueeze(self, dim: builtins.int) -> Tensor:
        """With a new dimension of size 1 at position dim."""

    # functions/softmax.py
    def softmax(
        self,
        dim: builtins.int | None = None,
        _stacklevel: builtins.int = 3,
        dtype: DtypeLike = None,
    ) -> Tensor:
        """exp(x)/Σ exp(x) along dim: positive numbers that add up to 1. Pass dim: the default is odd."""
    def log_softmax(
        self,
        dim: builtins.int | None = None,
        _stacklevel: builtins.int = 3,
        dtype: DtypeLike = None,
    ) -> Tensor:
        """log(softmax(x)) along dim, without the −inf of softmax's zeros. dtype: cast to it first."""
    def logsumexp(self, dim: Any, keepdim: builtins.bool = False) -> Tensor:
        """log Σ exp(x) over dim, an int or a tuple, without overflow. Integers become floating."""

    # functions/special.py
    def lgamma(self) -> Tensor:
        """log |Γ(x)|; ∞ at 0, −1, −2 … The derivative is ψ(x), `digamma`."""
    def lgamma_(self) -> Tensor:
        """lgamma in place: the result is written into this tensor."""
    def digamma(self) -> Tensor:
        """ψ(x) = d/dx log Γ(x); −∞ at 0, NaN at −1, −2 … The derivative is ψ′(x), `polygamma(1, x)`."""
    def digamma_(self) -> Tensor:
        """digamma in place: the result is written into this tensor."""
    def polygamma(self, n: builtins.int) -> Tensor:
        """ψ⁽ⁿ⁾(x), see polygamma."""
    def mvlgamma(self, p: builtins.int) -> Tensor:
        """log Γₚ(x) = p·(p − 1)/4·log π + Σ log Γ(x − j/2) over j = 0 … p − 1, Γ of p dimensions."""
    def mvlgamma_(self, p: builtins.int) -> Tensor:
        """mvlgamma in place: the result is written into this tensor."""
    def erfinv(self) -> Tensor:
        """The x with erf x = y, for y in [−1, 1]; NaN beyond. The derivative is √π/2·exp(x²)."""
    def erfinv_(self) -> Tensor:
        """erfinv in place: the result is written into this tensor."""
    def sinc(self) -> Tensor:
        """sin(πx)/(πx), and 1 at 0. The derivative is (cos(πx) − sinc x)/x, and 0 at 0."""
    def sinc_(self) -> Tensor:
        """sinc in place: the result is written into this tensor."""
    def heaviside(self, values: Tensor) -> Tensor:
        """0 where x < 0 or x is nan, values where x = 0, and 1 where x > 0. It has no derivative."""
    def heaviside_(self, values: Tensor) -> Tensor:
        """heaviside in place: the result is written into this tensor."""
    def float_power(self, exponent: Any) -> Tensor:
        """xᵉ, computed in float64, the dtype of the result; one of the two may be a number."""
    def float_power_(self, exponent: Any) -> Tensor:
        """xᵉ in x's own memory, which must be float64."""

    # functions/statistics.py
    def mode(self, dim: builtins.int = -1, keepdim: builtins.bool = False) -> ValuesIndices:
        """(values, indices): the most frequent element along dim, the smallest of several; its last"""
    def nanquantile(
        self,
        q: Any,
        dim: builtins.int | None = None,
        keepdim: builtins.bool = False,
        *,
        interpolation: str = 'linear',
    ) -> Tensor:
        """quantile of the elements that are not nan; nan where there are none. See `quantile`."""
    def cov(
        self,
        *,
        correction: builtins.int = 1,
        fweights: Tensor | None = None,
        aweights: Tensor | None = None,
    ) -> Tensor:
        """The covariances of variables: rows of input (V, N), or one variable (N)."""
    def corrcoef(self) -> Tensor:
        """The correlations of variables, rows of input (V, N): cov/(σ·σ), between −1 and 1."""

    # functions/storage.py
    def untyped_storage(self) -> UntypedStorage:
        """The memory that the tensor shows a part of: two tensors share it if data_ptr() is equal."""
    def storage_offset(self) -> builtins.int:
        """How many elements lie before the tensor's first in its storage."""

def attach(name: str, value: Any) -> None:
    """Give Tensor a method, an operator or a property that a higher floor defines."""

def attach_later(file: str, names: str) -> None:
    """Give Tensor methods that a file attaches when it is imported; first use imports it."""

def wrap(array: Any) -> Tensor:
    """A tensor outside the graph around an array (0-d arrays included), which is not copied."""
