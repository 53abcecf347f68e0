"""Packages that only a part of the library needs: one error that says how to install them."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

__all__ = ["MissingPackage", "importing", "install_extra"]


class MissingPackage(ImportError):
    """A package is not installed. The message says what needs it, and how to install it."""


def install_extra(extra: str) -> str:
    """The command that installs an extra of this package, for every shell (cmd.exe too)."""
    return f'pip install "tinygrad_llm[{extra}]"'


@contextmanager
def importing(need: str, install: str) -> Iterator[None]:
    """For a block of imports: `with importing("chat needs jinja2", install_extra("chat")):`.

    Raises: MissingPackage, "need: install", where an import in the block fails.
    """
    try:
        yield
    except ImportError as error:
        raise MissingPackage(f"{need}: {install}") from error
