"""The version: of PyTorch's interface that is offered, and after the plus sign of this package."""

from __future__ import annotations

import re
from typing import Any

__all__ = ["TorchVersion", "__version__", "cuda", "debug", "git_version", "hip", "package", "xpu"]

package = "0.1.0"  # this package's own version


class TorchVersion(str):
    """A version as text that compares by its numbers: with text, a tuple, or packaging's Version.

    "2.13.0" is greater than "2.2" and than (2, 0), as in PyTorch, though not as text.
    """

    __slots__ = ()

    def _compared(self, other: Any) -> tuple[Any, Any]:
        return _key(self), _key(other)

    def __lt__(self, other: Any) -> bool:
        mine, its = self._compared(other)
        return mine < its

    def __le__(self, other: Any) -> bool:
        mine, its = self._compared(other)
        return mine <= its

    def __gt__(self, other: Any) -> bool:
        mine, its = self._compared(other)
        return mine > its

    def __ge__(self, other: Any) -> bool:
        mine, its = self._compared(other)
        return mine >= its

    def __eq__(self, other: Any) -> bool:
        if not isinstance(other, str | tuple | list) and not hasattr(other, "release"):
            return False
        mine, its = self._compared(other)
        return mine == its

    def __ne__(self, other: Any) -> bool:
        return not self == other

    def __hash__(self) -> int:
        return str.__hash__(self)


def _key(version: Any) -> tuple[tuple[int, ...], bool, str]:
    """(release without zeros at its end, whether it is final, local part) of a version."""
    if isinstance(version, tuple | list):
        version = ".".join(str(part) for part in version)
    public, _, local = str.__str__(str(version)).partition("+")
    match = re.match(r"v?(\d+(?:\.\d+)*)(.*)", public)
    if match is None:
        raise ValueError(f"Invalid version: {version!r}")
    release = [int(n) for n in match[1].split(".")]
    while release and release[-1] == 0:
        release.pop()
    early = re.match(r"[._-]?(a|b|c|rc|alpha|beta|pre|preview|dev)", match[2])
    return tuple(release), early is None, local


__version__ = TorchVersion(f"2.13.0+tinygrad.llm.{package}")
cuda: str | None = None  # no CUDA was compiled in: CuPy brings it, see cuda.is_available()
hip: str | None = None
xpu: str | None = None
debug = False
git_version = "unknown"
