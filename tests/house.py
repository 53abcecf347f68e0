"""The structure of the package, read from its imports: rooms, floors, arrows, circles.

    python tests/house.py            the floors, the arrows between rooms, and what breaks the rules

Every import counts: those at the top of a file, those inside functions, and those that only a type
checker runs. `from .. import random` leads to the module named, where there is one.
"""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent / "tinygrad_llm"

# From the ground up. A room imports rooms of rows above its own in this list, and never one of its
# own row or of a row below. A room is a folder or a file; the longest name that fits counts.
FLOORS = """
files  arrays  arrays.memory  arrays.capture  arrays.blas  arrays.allocator  arrays.twins
arrays.ids  arrays.threads
arrays.devices
arrays.special  arrays.indexing  arrays.regions  arrays.parallel
arrays.reductions
arrays.matmul  arrays.attention_blocks
tensor  random
autograd
ops
ops.cuda
weights.formats
functions
cuda.availability  cuda.graphs
amp
cuda.amp
cuda
backends
nn  optim  utils
serialization  testing
layers
weights.families  weights  text  data
models
generation
training
finetune
study
cli
__main__
"""
FLOOR = {
    room: number
    for number, rooms in enumerate(FLOORS.strip().splitlines())
    for room in rooms.split()
}
SEES_NOT = {"optim": ("ops", "functions"), "random": ("ops", "tensor", "functions")}


def module_of(path: Path) -> str:
    """tinygrad_llm/nn/module.py -> "nn.module", tinygrad_llm/nn/__init__.py -> "nn"."""
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


FILES = {module_of(path): path for path in sorted(ROOT.rglob("*.py"))}


def imported_names(path: Path, package: str) -> Iterator[tuple[int, str]]:
    """(line, absolute dotted name) of everything that a file imports, wherever it does so."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from ((node.lineno, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = package.split(".") if package else []
            base = base[: len(base) - node.level + 1]
            name = ".".join(["tinygrad_llm", *base] if node.level else [])
            name = ".".join(filter(None, [name, node.module or ""]))
            yield from ((node.lineno, f"{name}.{alias.name}") for alias in node.names)
        elif isinstance(node, ast.Call) and getattr(node.func, "attr", "") == "import_module":
            first = node.args[0] if node.args else None
            if isinstance(first, ast.Constant) and isinstance(first.value, str):
                yield node.lineno, first.value


def imports(module: str) -> list[tuple[int, str]]:
    """(line, module) of what a module imports from the package."""
    path = FILES[module]
    package = module if path.name == "__init__.py" else module.rpartition(".")[0]
    arrows = []
    for line, name in imported_names(path, package):
        parts = name.split(".")
        if parts[0] != "tinygrad_llm":
            continue
        while len(parts) > 1 and ".".join(parts[1:]) not in FILES:
            parts.pop()
        target = ".".join(parts[1:])
        if target != module and target:
            arrows.append((line, target))
    return arrows


def room_of(module: str) -> str:
    """The room that a module stands in: the longest name in FLOORS that fits, or its folder."""
    parts = module.split(".")
    for n in range(len(parts), 0, -1):
        if ".".join(parts[:n]) in FLOOR:
            return ".".join(parts[:n])
    return parts[0]


def circles(arrows: dict[str, set[str]]) -> list[list[str]]:
    """Groups of modules that reach each other (strongly connected components of two or more)."""
    index: dict[str, int] = {}
    low: dict[str, int] = {}
    stack: list[str] = []
    groups = []

    def visit(node: str) -> None:
        index[node] = low[node] = len(index)
        stack.append(node)
        for other in sorted(arrows.get(node, ())):
            if other not in index:
                visit(other)
                low[node] = min(low[node], low[other])
            elif other in stack:
                low[node] = min(low[node], index[other])
        if low[node] == index[node]:
            group = []
            while not group or group[-1] != node:
                group.append(stack.pop())
            if len(group) > 1:
                groups.append(sorted(group))

    for node in sorted(arrows):
        if node not in index:
            visit(node)
    return groups


def steps_up(modules: Iterable[str] | None = None) -> list[str]:
    """Imports that lead to a room of the same floor or of one above."""
    wrong = []
    for module in FILES if modules is None else modules:
        if not module:
            continue  # the public face gathers from everywhere
        me = room_of(module)
        for line, target in imports(module):
            other = room_of(target)
            if other == me or other not in FLOOR or me not in FLOOR:
                continue
            if FLOOR[other] >= FLOOR[me] or other.split(".")[0] in SEES_NOT.get(me, ()):
                wrong.append(f"{module}:{line}: {me} imports {target}")
    return wrong


def drawing() -> str:
    """Floors from the top down, and for each room its lines and the rooms that it imports."""
    rooms: dict[str, set[str]] = {}
    lines: dict[str, int] = {}
    for module, path in FILES.items():
        if not module:
            continue
        me = room_of(module)
        lines[me] = lines.get(me, 0) + len(path.read_text(encoding="utf-8").splitlines())
        arrows = {room_of(target) for _, target in imports(module)}
        rooms.setdefault(me, set()).update(arrows - {me})
    text = []
    for number, row in reversed(list(enumerate(FLOORS.strip().splitlines()))):
        for room in row.split():
            targets = " ".join(sorted(rooms.get(room, ()), key=lambda r: -FLOOR.get(r, -1)))
            text.append(f"floor {number:2}  {room:24} {lines.get(room, 0):6} lines  -> {targets}")
    n_arrows = sum(map(len, rooms.values()))
    found = circles({m: {t for _, t in imports(m)} for m in FILES if m})
    text += [
        f"{len(rooms)} rooms on {len(FLOORS.strip().splitlines())} floors, {n_arrows} arrows, "
        f"{len(steps_up())} of them lead up, {len(found)} circles",
        *map(" <-> ".join, found),
        *steps_up(),
    ]
    return "\n".join(text)


if __name__ == "__main__":
    sys.exit(print(drawing()))
