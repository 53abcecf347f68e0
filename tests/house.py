"""The structure of the package, read from its imports: rooms, floors, arrows, circles.

    python tests/house.py            floors, arrows between rooms, and imports that break the rules
    python tests/house.py --page     write tinygrad_llm/HOUSE.md: each folder, its files and lines

Every import counts: those at the top of a file, those inside functions, and those that only a type
checker runs. `from .. import random` leads to the module of that name, if there is one.
"""

from __future__ import annotations

import ast
import functools
import re
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).resolve().parent.parent / "tinygrad_llm"

# From the ground up. A room imports only rooms of rows above its own row in this list. A room is a
# folder or a file; the longest name that matches counts.
FLOORS = """
files  arrays  arrays.meta
arrays.memory  arrays.capture  arrays.blas  arrays.allocator  arrays.twins
arrays.ids  arrays.threads  arrays.silence
version  multiprocessing  client
arrays.devices
arrays.availability  arrays.layout  arrays.special  arrays.masks  arrays.indexing  arrays.regions
arrays.parallel  arrays.gamma
arrays.reductions
arrays.matmul  arrays.attention_blocks
tensor  random
autograd
ops
ops.cuda  ops.loops
weights.formats
weights
functions
cuda.graphs  cuda.queries  cuda.nvtx  distributed  _dynamo.config  _inductor
amp  _dynamo
cuda.amp  compiler
cuda
backends  distributions  jit  overrides  profiler  special  types
nn  optim  utils  linalg
serialization  testing  optim.swa_utils
distributed.optim  distributed.device_mesh  distributed.sharded
distributed.unit
distributed.fsdp  distributed.tensor  distributed.pipelining
layers
weights.families  text
data
models
generation
training
evaluation
finetune
retrieval
study.common
study.mistakes  study.memory  study.doctor
study.check
study.trace  study.draw
study.explain  study.exercises
study
serve
cli
__main__
"""
FLOOR = {
    room: number
    for number, rooms in enumerate(FLOORS.strip().splitlines())
    for room in rooms.split()
}
# Rooms that see less than all that is below them, with the rooms that they do see.
SEES_ONLY = {
    "random": "arrays",
    "autograd": "arrays tensor",
    "ops": "arrays autograd",
    "optim.swa_utils": "autograd functions nn tensor",  # averages of modules
    "optim": "arrays autograd tensor",
    "utils": "arrays autograd distributed functions random tensor",
    "text": "files weights weights.formats",
    "data": "files multiprocessing random tensor text",
}
# Modules that use the public face, `import tinygrad_llm`, as a reader's program does.
USE_THE_FACE = ("cli.", "study.exercises.", "study.doctor.", "testing.")


def module_of(path: Path, root: Path = ROOT) -> str:
    """tinygrad_llm/nn/module.py -> "nn.module", tinygrad_llm/nn/__init__.py -> "nn"."""
    parts = path.relative_to(root).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def files_of(root: Path) -> dict[str, Path]:
    """Every module of a package, and its file."""
    return {module_of(path, root): path for path in sorted(root.rglob("*.py"))}


FILES = files_of(ROOT)


def imported_names(path: Path, package: str, top: str = ROOT.name) -> Iterator[tuple[int, str]]:
    """(line, absolute dotted name) of everything that a file imports, anywhere in it.

    package is the dotted name of the file's folder within the package `top`.
    """
    return names_imported_by(ast.parse(path.read_text(encoding="utf-8")), package, top)


def names_imported_by(
    tree: ast.Module, package: str, top: str = ROOT.name
) -> Iterator[tuple[int, str]]:
    """As imported_names, of a file that is parsed already."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from ((node.lineno, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = package.split(".") if package else []
            base = base[: len(base) - node.level + 1]
            name = ".".join([top, *base] if node.level else [])
            name = ".".join(filter(None, [name, node.module or ""]))
            yield from ((node.lineno, f"{name}.{alias.name}") for alias in node.names)
        elif isinstance(node, ast.Call) and getattr(node.func, "attr", "") == "import_module":
            first = node.args[0] if node.args else None
            if isinstance(first, ast.Constant) and isinstance(first.value, str):
                yield node.lineno, first.value


@functools.cache
def imports(module: str, root: Path = ROOT) -> list[tuple[int, str]]:
    """(line, module) of what a module imports from its own package."""
    files = FILES if root == ROOT else files_of(root)
    path = files[module]
    package = module if path.name == "__init__.py" else module.rpartition(".")[0]
    arrows = []
    for line, name in imported_names(path, package, root.name):
        parts = name.split(".")
        if parts[0] != root.name:
            continue
        while len(parts) > 1 and ".".join(parts[1:]) not in files:
            parts.pop()
        target = ".".join(parts[1:])
        if target != module:
            arrows.append((line, target))
        for n in range(len(parts) - 1, 1, -1):  # importing a.b runs a, unless we are inside of a
            parent = ".".join(parts[1:n])
            if not f"{module}.".startswith(f"{parent}."):
                arrows.append((line, parent))
    return arrows


def arrows_of(root: Path = ROOT) -> dict[str, set[str]]:
    """For each module of a package the modules of the same package that it imports."""
    return {m: {target for _, target in imports(m, root) if target} for m in files_of(root) if m}


def room_of(module: str) -> str:
    """The room that a module stands in: the longest name in FLOORS that matches, or its folder."""
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
    """Imports that lead to a room of the same floor or of one above, or to one not to be seen."""
    wrong = []
    for module in FILES if modules is None else modules:
        if not module:
            continue  # the public face gathers from everywhere
        me = room_of(module)
        seen = next((v.split() for k, v in SEES_ONLY.items() if f"{me}.".startswith(f"{k}.")), None)
        for line, target in imports(module):
            other = room_of(target)
            if not target:
                allowed = f"{module}.".startswith(USE_THE_FACE)
            elif other == me:
                allowed = True
            else:
                allowed = FLOOR[other] < FLOOR[me] and (
                    seen is None or me.split(".")[0] == other.split(".")[0]
                    or any(f"{target}.".startswith(f"{room}.") for room in seen)
                )  # fmt: skip
            if not allowed:
                wrong.append(f"{module}:{line}: {me} imports {target or 'the public face'}")
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
    groups = circles(arrows_of())
    text += [
        f"{len(rooms)} rooms on {len(FLOORS.strip().splitlines())} floors, {n_arrows} arrows, "
        f"{len(steps_up())} of them lead up, {len(groups)} circles",
        *map(" <-> ".join, groups),
        *steps_up(),
    ]
    return "\n".join(text)


# -------------------------------------------------------------------------- the page of folders
PAGE = ROOT / "HOUSE.md"
CODE = {".py", ".pyi", ".cu", ".cuh", ".html", ".js", ".css"}
HEAD = """# The house, folder by folder

From the ground up: a folder uses those above it in this table. The exact floors, which also order
some files inside a folder, are in `tests/house.py`, and a test reads every import. Each
description is the first line of the folder's `__init__.py`; lines include docstrings and are
rounded. `python tests/house.py --page` writes this page.

| folder | files | lines | what it holds |
|---|---|---|---|
"""


class Folder(NamedTuple):
    """A row of the page. Files in a folder without an `__init__.py` count as its parent's."""

    name: str
    files: int
    lines: int
    text: str


def folders() -> list[Folder]:
    """Every folder of the package, from the ground up, those inside a folder right after it."""
    packages = {path.parent: path for path in ROOT.rglob("__init__.py")}
    files: dict[Path, list[Path]] = {folder: [] for folder in packages}
    for path in ROOT.rglob("*"):
        if path.suffix in CODE:
            files[next(f for f in path.parents if f in packages)].append(path)

    def position(folder: Path) -> tuple[int, tuple[str, ...]]:
        parts = folder.relative_to(ROOT).parts
        return FLOOR.get(parts[0], len(FLOOR)) if parts else len(FLOOR) + 1, parts

    rows = []
    for folder in sorted(packages, key=position):
        text = ast.get_docstring(ast.parse(packages[folder].read_text(encoding="utf-8"))) or ""
        lines = sum(len(path.read_text(encoding="utf-8").splitlines()) for path in files[folder])
        name = "/".join(folder.relative_to(ROOT).parts) or "tinygrad_llm"
        rows.append(Folder(name + "/", len(files[folder]), lines, text.partition("\n")[0]))
    return rows


def two_digits(n: int) -> int:
    """n with all digits after the second one rounded away: 1,234 -> 1,200."""
    return round(n, 2 - len(str(n))) if n > 99 else n


def page() -> str:
    """The text of HOUSE.md."""
    rows = folders()
    total = Folder("in all", sum(r.files for r in rows), sum(r.lines for r in rows), "")
    table = [
        f"| {f'`{row.name}`' if row.text else row.name} | {row.files} | "
        f"{two_digits(row.lines):,} | {row.text} |\n"
        for row in [*rows, total]
    ]
    return HEAD + "".join(table)


def written_folders() -> list[Folder]:
    """The rows of HOUSE.md as it stands."""
    rows = re.findall(
        r"^\| `(\S+)` \| (\d+) \| ([\d,]+) \| (.*) \|$", PAGE.read_text(encoding="utf-8"), re.M
    )
    return [Folder(name, int(n), int(lines.replace(",", "")), t) for name, n, lines, t in rows]


if __name__ == "__main__":
    if "--page" in sys.argv[1:]:
        PAGE.write_text(page(), encoding="utf-8")
    else:
        print(drawing())
