"""How a function is called: as torch.sum(x) and as x.sum(), and what happens when it goes wrong.

`@method` is for functions that are methods of Tensor too, `@function` for the others. Both lead
every call through one wrapper; `guarded` makes it and says why it exists.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Callable, Iterable, Sequence
from typing import Any, TypeVar, cast, overload

from ..arrays.devices import gpus, use_gpu_of
from ..tensor import Tensor, attach
from ..tensor.numbers import NUMBERS, PLAIN, number, number_to_fill, plain
from .out import into_out, takes_out
from .printed_names import named, passed_off_as

F = TypeVar("F", bound=Callable[..., Any])


@overload
def method(name: F, /) -> F: ...
@overload
def method(name: str, /, *aliases: str) -> Callable[[F], F]: ...
def method(name: Any, /, *aliases: str) -> Any:
    """Attach a function whose first argument is a tensor to Tensor, and guard it.

    `@method` uses the function's own name, `@method("add", "__add__")` the names given. An operator
    is the function as it is: Python calls it with the right number of arguments, and it must return
    NotImplemented to Python. So is a method that takes nothing that could be wrong.
    """
    if callable(name):
        return method(name.__name__)(name)

    def decorate(function: F) -> F:
        function = named(function)
        bound = guarded(function, arguments_before=1) if _can_be_misused(function) else function
        for each in (name, *aliases):
            attach(each, function if each.startswith("__") else bound)
        return guarded(function)

    return decorate


class autocast_was:
    """Whether a thread has ever entered autocast; before, functions need not ask for their own."""

    entered = False


def function(function: F) -> F:
    """Guard a function that is not a method of Tensor."""
    return guarded(named(function))


_are_plain = PLAIN.issuperset
_are_numbers = NUMBERS.issuperset


def guarded(function: F, arguments_before: int = 0) -> F:
    """The function behind the one wrapper between the caller and every function.

    PyTorch's functions accept more than a Python function, and their errors say more:

    1. Arguments have NumPy's names too: sum(x, axis=1) is sum(x, dim=1), and the values that
       `*sizes` collects may be given by name as one tuple: permute(x, dims=(1, 0)).
    2. A list or an array in a tensor's place is a TypeError that names the argument, its position
       and its type, not an AttributeError from within ("'list' object has no attribute 'array'").
    3. Two operands that do not go together (NotImplemented) are a TypeError too, and so is a text
       or a complex number in the place of a number.

    4. NumPy's scalars and, where the function takes a number, 0-d tensors and arrays become Python
       numbers (tensor/numbers.py): x.sum(np.int64(0)), F.leaky_relu(x, np.float64(0.1)).

    5. A function whose results PyTorch writes into given tensors takes out= (out.py).

    Otherwise nothing is examined before something has gone wrong: a good call costs one look at the
    arguments' types, one try and one comparison. On a machine with several GPUs the GPU of the
    first tensor becomes the current one before that.

    arguments_before: how many arguments come before the first that the caller writes, 1 for the
    self of a method. Positions in messages are counted without them.
    Raises: TypeError as in 2. and 3.
    """

    places, names = _takes_numbers(function)
    first = 0 if 0 in places else 1  # where numbers may begin
    only_numbers = bool(places) and places == tuple(range(first, len(places) + first))
    fits = _are_numbers if only_numbers else _are_plain
    first_fits = NUMBERS if first in places else PLAIN
    fit_by_name = NUMBERS if names else PLAIN
    to_look_at = () if only_numbers else [i for i in places if i > first]
    second, third = first + 1, first + 2
    others = NUMBERS if only_numbers else PLAIN
    outside = getattr(function, "outside_autocast", None)
    if outside is None or function.__wrapped__ is not outside:  # type: ignore[attr-defined]
        outside = function

    as_number = number_to_fill if function.__name__ in ("full", "arange") else number

    def call(*args: Any, **kwargs: Any) -> Any:
        n = len(args)
        if n > first:
            fit = type(args[first]) in first_fits
            if fit and n > second:  # mostly there is one more, which costs less than several
                one = n == third
                fit = type(args[second]) in others if one else fits(map(type, args[second:]))
            if not fit:
                args = tuple(
                    [as_number(a) if i in places else plain(a) for i, a in enumerate(args)]
                )
            for i in to_look_at:
                if i >= n:
                    break
                if type(args[i]) not in NUMBERS:
                    args = (*args[:i], as_number(args[i]), *args[i + 1 :])
        for a in kwargs.values():
            if type(a) not in fit_by_name:
                kwargs = {k: as_number(a) if k in names else plain(a) for k, a in kwargs.items()}
                break
        if gpus.several:
            _use_gpu_of_arguments(args, kwargs)
        try:
            result = (function if autocast_was.entered else outside)(*args, **kwargs)
        except (TypeError, ValueError) as fault:
            return _again(call, function, args, kwargs, arguments_before, fault)
        except AttributeError:
            error = _not_a_tensor(function, args, kwargs, arguments_before)
            if error is None:
                raise
            raise error from None
        if result is NotImplemented:
            error = _not_a_tensor(function, args, kwargs, arguments_before, ("input", "other"))
            raise error or TypeError(f"{function.__name__}(): got arguments that it does not know")
        return result

    return cast(F, passed_off_as(function, call))


def _use_gpu_of_arguments(args: tuple, kwargs: dict) -> None:
    """Make the GPU of the first tensor current, also if it is in a list: cat([a, b])."""
    for value in (*args, *kwargs.values()):
        use_gpu_of(*(value if isinstance(value, tuple | list) else (value,)))
        if isinstance(value, Tensor | tuple | list):
            return


# ------------------------------------------------------------------------ parameters of a function
# Other names of arguments that PyTorch takes as well, most of them NumPy's.
_OTHER_NAMES = {
    "axis": "dim", "keepdims": "keepdim", "x": "input", "a": "input", "x1": "input", "x2": "other",
    "axis0": "dim0", "axis1": "dim1", "split_size": "split_size_or_sections", "tensor": "input",
}  # fmt: skip
_VARARGS = 0x04  # the flag of a function with *args in its code object


def _code(function: Any) -> Any:
    while hasattr(function, "__wrapped__"):
        function = function.__wrapped__
    return function.__code__


def _parameters(function: Any) -> tuple[str, ...]:
    code = _code(function)
    return code.co_varnames[: code.co_argcount + code.co_kwonlyargcount]


def _positional(function: Any) -> tuple[str, ...]:
    code = _code(function)
    return code.co_varnames[: code.co_argcount]


def _star(function: Any) -> str:
    """The name behind the star in f(input, *sizes); "" if there is none."""
    code = _code(function)
    has_star = code.co_flags & _VARARGS
    return code.co_varnames[code.co_argcount + code.co_kwonlyargcount] if has_star else ""


def _can_be_misused(function: Any) -> bool:
    """Whether a method has arguments besides the tensor itself."""
    return len(_parameters(function)) > 1 or bool(_star(function))


def _renamed(function: Any, args: tuple, kwargs: dict) -> tuple[tuple, dict] | None:
    """The arguments under the names that the function has; None if they have them already."""
    parameters, star = _parameters(function), _star(function)
    new = {}
    for name, value in kwargs.items():
        other = _OTHER_NAMES.get(name, name)
        new[other if other in parameters and name not in parameters else name] = value
    if star and star in new:
        first = (new.pop(parameters[0]),) if parameters[0] in new else ()
        several = new.pop(star)
        return (*first, *args, *(several if isinstance(several, tuple | list) else [several])), new
    return None if new == kwargs else (args, new)


_NUMBERS = frozenset(
    [
        "int",
        "float",
        "bool",
        "int | None",
        "float | None",
        "bool | None",
        "int | Sequence[int]",
        "float | Sequence[float]",
    ]
)
# Arguments that are numbers, or several, wherever their annotation does not say so. max and min
# take a tensor in the place of dim.
_NAMES_OF_NUMBERS = frozenset(
    "alpha base correction dims end fill_value high indices_or_sections low normalized_shape p "
    "ord shape shifts size sizes split_size_or_sections start step unbiased".split()
)


@functools.cache  # of a method once for both of its forms
def _takes_numbers(function: Any) -> tuple[tuple[int, ...], frozenset[str]]:
    """The positions and the names of a function's arguments that are numbers, never tensors."""
    hints, parameters, star = function.__annotations__, _parameters(function), _star(function)
    names = []
    for name in parameters:
        hint = hints.get(name, "Any")
        if hint == "Any":
            if name in _NAMES_OF_NUMBERS or (name == "dim" and "other" not in parameters):
                names.append(name)
        elif hint in _NUMBERS:
            names.append(name)
    positional = _positional(function)
    places = [i for i, n in enumerate(positional) if n in names]
    if star in ("args", "dims", "shape", "size", "sizes", "repeats"):
        places += range(len(positional), 16)
    return tuple(places), frozenset(names)


# ------------------------------------------------------------------------------------ what is wrong
def _again(
    call: Any, function: Any, args: tuple, kwargs: dict, arguments_before: int, error: Exception
) -> Any:
    """What a call that failed returns with the function's own names of arguments, or with out=.

    Raises: TypeError, which names it, if an argument is not a number and should be, unless the
    error names it already; else the error.
    """
    if isinstance(error, TypeError):
        if "out" in kwargs and not arguments_before and takes_out(function):
            return into_out(call, kwargs.pop("out"), args, kwargs)
        renamed = _renamed(function, args, kwargs)
        if renamed is not None:
            return call(*renamed[0], **renamed[1])
    wrong = _not_a_number(function, args, kwargs, arguments_before, str(error))
    if wrong is None:
        raise
    raise wrong from None


def _given(function: Any, args: tuple, kwargs: dict) -> dict[str, Any]:
    """The arguments of a call by name, without those that a star collects."""
    return {**dict(zip(_positional(function), args, strict=False)), **kwargs}


def _must_be(
    expected: str, value: Any, function: Any, name: str, kwargs: dict, arguments_before: int
) -> TypeError:
    """PyTorch's error for an argument of another type than expected."""
    at = _parameters(function).index(name) + 1 - arguments_before
    position = "" if name in kwargs else f" (position {at})"
    return TypeError(
        f"{function.__name__}(): argument {name!r}{position} must be {expected}, not "
        f"{type(value).__name__}"
    )


def _not_a_tensor(
    function: Any, args: tuple, kwargs: dict, arguments_before: int, operands: Sequence[str] = ()
) -> TypeError | None:
    """An error for the first argument that should be a tensor, or tensors, and is not.

    These are the arguments annotated as Tensor or Sequence[Tensor], the first one of all, what
    `*tensors` collects, and `operands`.
    """
    names, positional = _parameters(function), _positional(function)
    hints = dict(function.__annotations__, **dict.fromkeys(operands, "Tensor"))
    if positional and hints.get(positional[0]) == "Any":
        hints[positional[0]] = "Tensor"
    given = _given(function, args, kwargs)
    lists = [(names.index(n), v) for n, v in given.items() if hints.get(n) == "Sequence[Tensor]"]
    if _star(function) in ("tensors", "operands"):
        more = args[len(positional) :]
        one_list = len(more) == 1 and isinstance(more[0], tuple | list)
        lists.append((len(positional), more[0] if one_list else more))
    for at, values in lists:
        error = _not_tensors(function.__name__, names, at, values, arguments_before)
        if error is not None:
            return error
    for name in names:
        if name in given and hints.get(name) == "Tensor" and not isinstance(given[name], Tensor):
            return _must_be("Tensor", given[name], function, name, kwargs, arguments_before)
    return None


# What arguments are whose annotation does not say it, and the types of each kind.
_KINDS = {
    "dim": "int | Sequence[int] | None", "split_size_or_sections": "int | Sequence[int]",
    "indices_or_sections": "int | Sequence[int] | Tensor", "correction": "float | None",
    "alpha": "Number", "beta": "Number", "value": "Number | Tensor",
    "p": "float | Tensor", "q": "float | Tensor", "weight": "float | Tensor",
}  # fmt: skip
_FIT: dict[str, tuple[type, ...]] = {
    "int": (int,), "bool": (int,), "float": (int, float), "Number": (int, float, complex)
}  # fmt: skip


def _not_a_number(
    function: Any, args: tuple, kwargs: dict, arguments_before: int, message: str
) -> TypeError | None:
    """An error for the first argument that should be a number, or several, and is not.

    These are the arguments annotated so, as int or "float | None", and those of _KINDS. It is asked
    when a call has failed, and so costs a good one nothing; None if the message of that failure
    names the argument already.
    """
    hints, given = function.__annotations__, _given(function, args, kwargs)
    for name in _parameters(function):
        hint = hints.get(name, "Any")
        expected, *others = (_KINDS.get(name, hint) if hint == "Any" else hint).split(" | ")
        if name not in given or expected not in _FIT:
            continue
        value = number(given[name])
        several = "Sequence[int]" in others
        values = value if several and isinstance(value, (tuple, list)) else [value]
        fit = (*_FIT[expected], Tensor) if "Tensor" in others else _FIT[expected]
        wrong = [v for v in map(number, values) if not isinstance(v, fit)]
        if wrong and not (value is None and "None" in others):
            if re.search(rf"\b{name}\b(?!\()", message):
                return None
            expected += " or several" if several else ""
            return _must_be(expected, wrong[0], function, name, kwargs, arguments_before)
    return None


def _not_tensors(
    function: str, names: Sequence[str], at: int, values: Any, arguments_before: int
) -> TypeError | None:
    """An error if argument number `at`, which should be several tensors, is something else."""
    if isinstance(values, Tensor) or not isinstance(values, Iterable):
        return TypeError(
            f"{function}(): argument {names[at]!r} (position {at + 1 - arguments_before}) must be "
            f"tuple of Tensors, not {type(values).__name__}"
        )
    for i, value in enumerate(values):
        if not isinstance(value, Tensor):
            return TypeError(
                f"{function}(): expected Tensor as element {i} in argument {at - arguments_before},"
                f" but got {type(value).__name__}"
            )
    return None
