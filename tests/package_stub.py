"""The package's names for editors and mypy: writes tinygrad_llm/__init__.pyi.

    python tests/package_stub.py            write it
    python tests/package_stub.py --check    exit status 1 if it is not current

Most names are imported when they are first used, which an editor cannot see; and a name is only
exported for strict checkers by `from .file import name as name`.
"""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterator
from pathlib import Path

from tensor_stub import write_or_check

ROOT = Path(__file__).resolve().parent.parent
SOURCE = ROOT / "tinygrad_llm" / "__init__.py"
STUB = SOURCE.with_suffix(".pyi")
SHOWN = ("__version__", "_dynamo", "_inductor")  # although they begin with _
HEAD = '''\
"""Every public name, for editors and mypy. Written by tests/package_stub.py; do not edit."""

# ruff: noqa
# fmt: off
'''


def imported(tree: ast.Module) -> Iterator[tuple[str, str, str]]:
    """(file, its name there, its name here) of what the package itself imports."""
    for node in tree.body:
        if isinstance(node, ast.ImportFrom):
            file = "." * node.level + (node.module or "")
            for alias in node.names:
                yield file, alias.name, alias.asname or alias.name


def second_names(tree: ast.Module) -> Iterator[tuple[str, str]]:
    """(second name, first name) of assignments such as `half, float = float16, float32`."""
    for node in tree.body:
        if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Tuple):
            assert isinstance(node.value, ast.Tuple)
            for new, old in zip(node.targets[0].elts, node.value.elts, strict=True):
                yield ast.unparse(new), ast.unparse(old)


def stub() -> str:
    """The whole text of the stub."""
    import tinygrad_llm

    tree = ast.parse(SOURCE.read_text(encoding="utf-8"))
    origin = {here: (file, there) for file, there, here in imported(tree)}
    origin |= {new: origin[old] for new, old in second_names(tree)}
    origin |= {name: (f".{file}", name) for name, file in tinygrad_llm._ELSEWHERE.items()}
    origin |= {name: (".", name) for name in tinygrad_llm._PACKAGES}
    origin = {name: at for name, at in origin.items() if not name.startswith("_") or name in SHOWN}
    # `from .tensor import Size` gives editors a module `tensor`: the function comes after it
    rooms = {file.lstrip(".").partition(".")[0] for file, _ in origin.values()}
    lines = sorted(
        (name in rooms and file != ".", f"from {file} import {there} as {name}")
        for name, (file, there) in origin.items()
    )
    unlisted = {n for n in dir(tinygrad_llm) if not n.startswith("_")} - set(origin) - {"newaxis"}
    assert not unlisted, f"names of unknown origin: {sorted(unlisted)}"
    return HEAD + "\n".join([*(line for _, line in lines), "", "newaxis: None", ""])


if __name__ == "__main__":
    sys.exit(write_or_check(STUB, stub(), "package_stub.py", sys.argv[1:]))
