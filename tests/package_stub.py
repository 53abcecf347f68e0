"""The package's names for editors and mypy: writes tinygrad_llm/__init__.pyi.

    python tests/package_stub.py            write it
    python tests/package_stub.py --check    exit status 1 if it is not current

Most names are imported when they are first used, which an editor cannot see; and a name is only
exported for strict checkers by `from .file import name as name`.
"""

from __future__ import annotations

import ast
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
SOURCE = ROOT / "tinygrad_llm" / "__init__.py"
STUB = SOURCE.with_suffix(".pyi")
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
    lines = [f"from {file} import {there} as {name}" for name, (file, there) in origin.items()]
    unlisted = {n for n in dir(tinygrad_llm) if not n.startswith("_")} - set(origin) - {"newaxis"}
    assert not unlisted, f"names of unknown origin: {sorted(unlisted)}"
    return HEAD + "\n".join([*sorted(lines), "", "newaxis: None", ""])


SHOWN = ("__version__", "_dynamo", "_inductor")


def main(arguments: list[str], show: Callable[[str], Any] = print) -> int:
    """Write the stub, or with --check compare it."""
    text = stub()
    if "--check" not in arguments:
        STUB.write_text(text, encoding="utf-8")
        return 0
    current = STUB.read_text(encoding="utf-8") == text
    if not current:
        show(f"{STUB.name} is not current: python tests/package_stub.py writes it")
    return int(not current)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
