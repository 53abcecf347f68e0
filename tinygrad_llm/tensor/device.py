"""device: where a tensor lives."""

from __future__ import annotations

import threading
from typing import Any


class _Default(threading.local):
    """The device of this thread for new tensors, as set by set_default_device and by blocks."""

    place: device | None = None  # None: the CPU
    before: tuple = ()  # what the open blocks have replaced, the innermost last


class defaults:
    """Where new tensors are made unless device= is given."""

    changed = False  # whether it was ever changed, in any thread
    here = _Default()


def default_device() -> device | None:
    """The device for new tensors where none is given; None for the CPU."""
    return defaults.here.place if defaults.changed else None


def set_default(place: device | None) -> None:
    """Make new tensors in this thread on another device."""
    defaults.changed = True
    defaults.here.place = None if place is None or place.type == "cpu" else place


class device:
    """Where a tensor lives: device("cpu"), device("cuda"), device("cuda:1"), device("cuda", 1).

    device("meta") is for tensors that have a shape and a dtype, but no numbers and no memory. In a
    block `with device("cuda"):` new tensors are made there unless device= is given.
    Raises: RuntimeError for the name of a device that this package does not have.
    """

    __slots__ = ("index", "type")
    type: str
    index: int | None

    def __init__(self, type: Any = "cpu", index: int | None = None) -> None:
        if isinstance(type, device):
            type, index = type.type, type.index
        elif isinstance(type, int):
            type, index = "cuda", type
        name, colon, number = str(type).partition(":")
        if name not in ("cpu", "cuda", "meta") or (colon and not number.isdigit()):
            raise RuntimeError(
                f"Expected one of cpu, cuda, meta device type at start of device string: {type}"
            )
        self.type = name
        self.index = int(number) if colon else index

    def __enter__(self) -> device:
        defaults.here.before += (defaults.here.place,)
        set_default(self)
        return self

    def __exit__(self, *exc: Any) -> None:
        *before, defaults.here.place = defaults.here.before
        defaults.here.before = tuple(before)

    def __repr__(self) -> str:
        return f"device(type={self.type!r}" + (
            ")" if self.index is None else f", index={self.index})"
        )

    def __str__(self) -> str:
        return self.type if self.index is None else f"{self.type}:{self.index}"

    def __eq__(self, other: object) -> bool:
        if isinstance(other, str):
            other = device(other)
        return isinstance(other, device) and str(self) == str(other)

    def __hash__(self) -> int:
        return hash(str(self))


DeviceLike = device | str | int | None  # what an argument `device` may be; None is the default
