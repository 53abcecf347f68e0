"""What a package says when it is asked for a name that it does not have."""

from __future__ import annotations

from collections.abc import Iterable


def missing(package: str, name: str, known: Iterable[str]) -> AttributeError:
    """AttributeError for `package.name`, with the nearest of the names that are there."""
    if name.startswith("__"):  # what import itself asks for
        return AttributeError(f"{package} has no {name!r}")
    import difflib  # here, because it is slow to import and seldom wanted

    near = difflib.get_close_matches(name, list(known), n=1, cutoff=0.6)
    hint = f": the nearest is {near[0]}" if near else ""
    return AttributeError(f"{package} has no {name!r}{hint}")
