"""Tensor: an array, its gradient, and the op that made it.

Nothing is computed here. The functions of `tinygrad_llm.functions` become methods of Tensor there,
each defined once; this file holds what a tensor *is*: its array, its place in the graph, and the
ways to look at it.
"""

from __future__ import annotations

import importlib
import math
import operator
from typing import Any

import numpy as np

from ..arrays import devices
from ..arrays.capture import refuse_in_capture
from ..arrays.layout import channels_at_the_end
from ..arrays.meta import is_meta
from . import dtypes
from .device import device as Device
from .formats import order_named
from .grad_fn_names import named
from .layout import strided
from .missing_names import names_of
from .size import Size


class Tensor:
    """An array with a gradient.

    array          the numbers: a NumPy array, or a CuPy array on a GPU
    grad           after backward(), ∂loss/∂this as a Tensor of the same shape and dtype, or None
    requires_grad  whether backward() computes a gradient for it
    is_leaf        whether the user made it (its grad is kept), rather than an op

    `Tensor(2, 3)` makes an uninitialised float tensor and `Tensor([1, 2])` a float copy, as in
    PyTorch; `tinygrad_llm.tensor(...)` is the function to use.
    """

    # What tensors of PyTorch can be, and these are not.
    is_sparse = False
    is_sparse_csr = False
    is_quantized = False
    is_mkldnn = False
    is_nested = False
    is_mps = False
    is_xpu = False
    is_xla = False
    is_mtia = False
    is_ipu = False
    is_maia = False
    is_vulkan = False
    layout: Any = strided

    array: Any
    _grad: Tensor | None = None  # .grad, without the property's cost
    _needs = False  # requires_grad, without the property's cost
    _op: Any = None  # the op that made this tensor; None for a leaf
    _out = 0  # which of that op's outputs it is
    _view_of: Tensor | None = None  # the tensor whose memory it shows, if it is a view
    _tick = 0  # when a view's history was last refreshed (see functions/inplace.py)
    unbind: Any  # functions/ attaches this method and the next
    _refresh_history: Any

    __array_priority__ = 1000  # numpy_array + tensor goes to Tensor.__radd__

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        dtype = dtypes.get_default_dtype()
        if len(args) == 1 and not isinstance(args[0], int | np.integer):
            value = args[0]
            if isinstance(value, Tensor):
                self.array = value.array
                return
            if isinstance(value, Size):
                self.array = np.zeros(value, dtypes.numpy_dtype(dtype))
                return
            self.array = np.array(value, dtypes.numpy_dtype(dtype))
            return
        self.array = np.zeros(args if args else (0,), dtypes.numpy_dtype(dtype))

    # ------------------------------------------------------------------------ what it is
    @property
    def shape(self) -> Size:
        return Size(self.array.shape)

    @property
    def dtype(self) -> dtypes.dtype:
        return dtypes.of(self.array.dtype)

    @property
    def device(self) -> Device:
        kind, index = devices.device_of(self.array)
        return Device(kind) if kind != "cuda" else Device(kind, index)

    @property
    def ndim(self) -> int:
        return self.array.ndim

    @property
    def is_cuda(self) -> bool:
        return not isinstance(self.array, np.ndarray)

    @property
    def is_cpu(self) -> bool:
        return devices.device_of(self.array)[0] == "cpu"

    @property
    def is_meta(self) -> bool:
        return is_meta(self.array)

    def get_device(self) -> int:
        """The number of the tensor's GPU; -1 on the CPU."""
        return devices.device_of(self.array)[1] if self.is_cuda else -1

    @property
    def itemsize(self) -> int:
        return self.array.itemsize

    @property
    def nbytes(self) -> int:
        return self.array.nbytes

    def dim(self) -> int:
        """The number of dimensions."""
        return self.array.ndim

    def size(self, dim: int | None = None) -> Any:
        """The shape, or the size of one dimension.

        Raises: IndexError if the tensor does not have the dimension.
        """
        if dim is None:
            return self.shape
        dim = operator.index(dim)
        if not -self.array.ndim <= dim < self.array.ndim:
            n = self.array.ndim or 1
            raise IndexError(
                f"Dimension out of range (expected to be in range of [{-n}, {n - 1}], "
                f"but got {dim})"
            )
        return self.array.shape[dim]

    def numel(self) -> int:
        """How many elements there are."""
        return self.array.size

    nelement = numel

    def element_size(self) -> int:
        """Bytes of one element."""
        return self.array.itemsize

    def stride(self, dim: int | None = None) -> Any:
        """Steps from one element to the next along each dimension, in elements.

        Of a contiguous tensor those of row order, also where a size is 1 or 0: NumPy's differ.
        """
        a = self.array
        if a.flags.c_contiguous or is_meta(a):
            sizes = [max(n, 1) for n in (*a.shape[1:], 1)]
            steps = tuple(math.prod(sizes[i:]) for i in range(a.ndim))
        else:
            steps = tuple(s // a.itemsize for s in a.strides)
        return steps if dim is None else steps[dim]

    def is_contiguous(self, memory_format: Any = None) -> bool:
        """Whether the elements lie in memory in row order without gaps, or in another format's."""
        if is_meta(self.array):
            return True
        order = "C" if memory_format is None else order_named(memory_format, self.array.ndim)
        lies = self.array if order != "channels_last" else channels_at_the_end(self.array)
        return bool(lies.flags.c_contiguous)

    def data_ptr(self) -> int:
        """The address of the first element; 0 on the meta device."""
        if is_meta(self.array):
            return 0
        if devices.device_of(self.array)[0] == "cuda":
            return self.array.data.ptr
        return self.array.ctypes.data

    def is_floating_point(self) -> bool:
        """Whether the dtype is a floating one, which alone can have gradients."""
        return self.dtype.is_floating_point

    def is_complex(self) -> bool:
        """Whether the dtype is a complex one."""
        return self.array.dtype.kind == "c"

    # ------------------------------------------------------------------ its place in the graph
    @property
    def requires_grad(self) -> bool:
        return self._up_to_date()._needs

    @requires_grad.setter
    def requires_grad(self, value: bool) -> None:
        """Set whether gradients are wanted.

        Raises: RuntimeError if it is False for an op's output, or True for an integer tensor.
        """
        if self._op is not None and not value:
            raise RuntimeError(
                "you can only change requires_grad flags of leaf variables. If you want to use a "
                "computed variable in a subgraph that doesn't require differentiation use "
                "var_no_grad = var.detach()."
            )
        if value and not (self.dtype.is_floating_point or self.is_complex()):
            raise RuntimeError(
                "only Tensors of floating point and complex dtype can require gradients, "
                f"this one is {self.dtype}: make it with .float() first"
            )
        self._needs = bool(value)

    def requires_grad_(self, requires_grad: bool = True) -> Tensor:
        """Set requires_grad in place and return the tensor.

        Raises: RuntimeError for integer dtypes.
        """
        self.requires_grad = requires_grad
        return self

    @property
    def grad(self) -> Tensor | None:
        return self._grad

    @grad.setter
    def grad(self, value: Tensor | None) -> None:
        """Set the gradient.

        Raises: TypeError or RuntimeError if it is neither None nor a tensor of this shape, dtype
        and device.
        """
        if value is not None:
            from .gradient import check_gradient, refused_type  # imported when first needed

            if not isinstance(value, Tensor):
                raise refused_type(value)
            check_gradient(self, value)
        self._grad = value

    @grad.deleter
    def grad(self) -> None:
        self._grad = None

    @property
    def is_leaf(self) -> bool:
        return self._up_to_date()._op is None

    @property
    def grad_fn(self) -> Any:
        op = self._up_to_date()._op
        return None if op is None else named(op, self)

    def _up_to_date(self) -> Tensor:
        """The tensor itself; a view whose base changed in place gets its new history first."""
        if self._view_of is not None and self._view_of._tick > self._tick:
            self._refresh_history()
        return self

    @property
    def data(self) -> Tensor:
        """The same memory as a tensor outside the graph; assign to it to replace the numbers."""
        return wrap(self.array)

    @data.setter
    def data(self, value: Tensor) -> None:
        self.array = value.array

    def detach(self) -> Tensor:
        """The same memory as a tensor outside the graph: no gradient flows through it."""
        return wrap(self.array)

    # ------------------------------------------------------------------ the numbers themselves
    def numpy(self, *, force: bool = False) -> Any:
        """The numbers as a NumPy array that shares this tensor's memory.

        force=True detaches and copies as needed.
        Raises: without force RuntimeError if the tensor requires grad, TypeError if it is on a GPU
        or the meta device.
        """
        if self._needs and not force:
            raise RuntimeError(
                "Can't call numpy() on Tensor that requires grad. "
                "Use tensor.detach().numpy() instead."
            )
        if devices.device_of(self.array)[0] != "cpu" and not force:
            raise TypeError(
                f"can't convert {self.device} device type tensor to numpy. Use Tensor.cpu() to "
                "copy the tensor to host memory first."
            )
        return devices.to_numpy(self.array)

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> Any:
        array = self.numpy()
        if dtype is not None and array.dtype != dtype:
            return array.astype(dtype)
        return array.copy() if copy else array

    def __dlpack__(self, **options: Any) -> Any:
        if self._needs:
            raise BufferError("Can't export tensors that require gradient, use tensor.detach()")
        return self.array.__dlpack__(**options)

    def __dlpack_device__(self) -> Any:
        return self.array.__dlpack_device__()

    def item(self) -> bool | int | float:
        """The only element as a Python number.

        Raises: RuntimeError if there is not exactly one element.
        """
        if self.array.size != 1:
            raise RuntimeError(
                f"a Tensor with {self.array.size} elements cannot be converted to Scalar"
            )
        if self.is_cuda:
            refuse_in_capture("a tensor's value as a Python number (.item(), float(), if)")
        value = self.array.item()
        if isinstance(value, complex):
            return value  # type: ignore[return-value]  # PyTorch's annotation leaves it out too
        return value if isinstance(value, bool | int | float) else float(value)

    def tolist(self) -> Any:
        """The numbers as nested Python lists, or as one Python number for a 0-d tensor."""
        array = devices.to_numpy(self.array)
        return array.tolist() if array.dtype.kind != "V" else array.astype("float32").tolist()

    def _number(self) -> Any:
        """item() for float() and int(), whose error is a ValueError."""
        if self.array.size != 1:
            raise ValueError(
                "only one element tensors can be converted to Python scalars, and this one has "
                f"{self.array.size}"
            )
        return self.item()

    def __float__(self) -> float:
        return float(self._number())

    def __complex__(self) -> complex:
        return complex(self._number())

    def __int__(self) -> int:
        return int(self._number())

    def __index__(self) -> int:
        if self.array.dtype.kind not in "iub" or self.array.size != 1:
            raise TypeError("only integer tensors of a single element can be converted to an index")
        return int(self.item())

    def __bool__(self) -> bool:
        if self.array.size != 1:
            what = "no values" if self.array.size == 0 else "more than one value"
            raise RuntimeError(f"Boolean value of Tensor with {what} is ambiguous")
        return bool(self.item())

    def __len__(self) -> int:
        if self.array.ndim == 0:
            raise TypeError("len() of a 0-d tensor")
        return self.array.shape[0]

    def __iter__(self) -> Any:
        if self.array.ndim == 0:
            raise TypeError("iteration over a 0-d tensor")
        return iter(self.unbind(0))

    def __hash__(self) -> int:
        return id(self)

    def __dir__(self) -> list[str]:
        return sorted({*names_of(type(self)), *vars(self)})

    def __repr__(self) -> str:
        from . import printing  # when first needed: it takes time to import

        return printing.tensor_text(self)

    def __format__(self, spec: str) -> str:
        if self.array.ndim == 0 and type(self) is Tensor:
            return format(self.item(), spec)
        return object.__format__(self, spec)

    def __deepcopy__(self, memo: dict[int, Any]) -> Tensor:
        from .copies import deep

        return deep(self, memo)

    def __copy__(self) -> Tensor:
        """A leaf that shares the memory, as copy.copy returns in PyTorch."""
        from .copies import own_attributes

        copy = object.__new__(type(self))
        copy.array = self.array
        copy._needs = self._needs
        copy.__dict__.update(own_attributes(self))
        return copy

    def __reduce_ex__(self, protocol: Any) -> Any:
        """How a tensor is sent to another process; to keep it in a file use tinygrad_llm.save."""
        from .copies import in_pieces, rebuilt

        return rebuilt, in_pieces(self)


attached: dict[str, Any] = {}  # name: the method, operator or property that a higher floor attached


def attach(name: str, value: Any) -> None:
    """Give Tensor a method, an operator or a property that a higher floor defines.

    After a change of these run `python tests/tensor_stub.py`, for editors and mypy.
    """
    attached[name] = value
    setattr(Tensor, name, value)


class _Later:
    """A method whose file is imported when the method is first asked for, and then attaches it."""

    __slots__ = ("file", "name")

    def __init__(self, name: str, file: str) -> None:
        self.name, self.file = name, file

    def __get__(self, instance: Any, owner: type) -> Any:
        importlib.import_module(self.file)
        return getattr(owner if instance is None else instance, self.name)


def attach_later(file: str, names: str) -> None:
    """Give Tensor methods that a file attaches when it is imported; first use imports it.

    file: the module's full name. names: of the methods, with spaces between them.
    """
    for name in names.split():
        if name not in attached:
            setattr(Tensor, name, _Later(name, file))


_new = object.__new__


def wrap(array: Any) -> Tensor:
    """A tensor outside the graph around an array (0-d arrays included), which is not copied."""
    tensor = _new(Tensor)
    tensor.array = array
    return tensor
