"""The packages that this one can use: which version each must have, and which is installed."""

from __future__ import annotations

import importlib.metadata
import platform
import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from .finding import version

__all__ = ["PackageRow", "package_rows"]

NAME = "tinygrad_llm"


@dataclass(frozen=True)
class PackageRow:
    """A package: its name, the versions that fit, the one that is here, and the verdict.

    extra      the extra that installs it, "" for what every installation needs
    installed  "" if it is absent
    state      OK; FAIL: missing although it is needed, or a version that does not fit; "-": absent,
               and only needed for its extra
    """

    name: str
    needed: str
    installed: str
    extra: str
    state: str


def package_rows(requirements: Iterable[str] | None = None) -> list[PackageRow]:
    """A row for Python and one for each package, the needed ones first, then extra by extra.

    requirements: in the form of package metadata; those of the installed package by default.
    Raises: LookupError if this package's metadata cannot be found.
    """
    from packaging.requirements import Requirement  # Matplotlib needs it too

    rows = []
    if requirements is None:
        try:
            metadata = importlib.metadata.metadata(NAME)
        except importlib.metadata.PackageNotFoundError:
            raise LookupError(
                f"{NAME} is not installed, so nothing says which packages it needs: pip install ."
            ) from None
        requirements = importlib.metadata.requires(NAME) or []
        rows.append(_row("Python", metadata["Requires-Python"], platform.python_version(), ""))
    for text in requirements:
        requirement = Requirement(text)
        extra = _extra_of(requirement)
        if requirement.marker and not requirement.marker.evaluate({"extra": extra}):
            continue  # for another Python or system
        rows.append(
            _row(requirement.name, str(requirement.specifier), version(requirement.name), extra)
        )
    return sorted(rows, key=lambda row: (row.extra != "", row.extra))  # stable


def _row(name: str, needed: str, installed: str, extra: str) -> PackageRow:
    from packaging.specifiers import SpecifierSet

    if not installed:
        state = "-" if extra else "FAIL"
    else:
        fits = SpecifierSet(needed).contains(installed, prereleases=True)
        state = "OK" if fits else "FAIL"
    return PackageRow(name, needed, installed, extra, state)


def _extra_of(requirement: Any) -> str:
    """The extra in a requirement's marker: `; extra == "ja"` -> "ja"."""
    named = re.search(r"extra\s*==\s*[\"']([^\"']+)", str(requirement.marker or ""))
    return named.group(1) if named else ""
