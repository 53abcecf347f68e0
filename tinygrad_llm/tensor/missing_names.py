"""The error for a name that a package does not have, with the nearest one that it has."""

from __future__ import annotations

from collections.abc import Iterable


def missing(package: str, name: str, known: Iterable[str]) -> AttributeError:
    """The AttributeError for `package.name`, with the nearest of the names that exist."""
    if name.startswith("__"):  # what import itself asks for
        return AttributeError(f"{package} has no {name!r}")
    import difflib  # here, because its import is slow and rarely needed

    from .out_of_scope import not_done

    part = not_done(name)
    if part:
        return AttributeError(
            f'{package} has no {name!r}: there are no {part} here (README.md, "What it does not '
            'do")'
        )
    near = difflib.get_close_matches(name, list(known), n=1, cutoff=0.76)
    hint = f": the nearest is {near[0]}" if near else ""
    return AttributeError(f"{package} has no {name!r}{hint}")
