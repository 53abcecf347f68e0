"""Tensor's methods for editors and mypy: writes tinygrad_llm/tensor/__init__.pyi.

    python tests/tensor_stub.py            write it
    python tests/tensor_stub.py --check    exit status 1 if it is not current

Tensor is defined in tensor/tensor.py, but most of its methods are attached by autograd and
functions, each beside the function that it is. An editor cannot see that; the stub lists them all.
Signatures and annotations are copied from the source, and of each docstring the first line.
"""

from __future__ import annotations

import ast
import builtins
import functools
import inspect
import sys
import typing
from collections.abc import Callable, Iterator
from pathlib import Path
from types import FunctionType, ModuleType
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
STUB = ROOT / "tinygrad_llm" / "tensor" / "__init__.pyi"
PACKAGE = "tinygrad_llm."
WIDTH = 100

HEAD = '''\
"""Tensor with all its methods, for editors and mypy. Written by tests/tensor_stub.py; do not edit.

Headings name the file that holds the methods under them.
"""

# ruff: noqa
# fmt: off
'''
EXPORTED = {
    "from . import dtypes as dtypes",
    "from .device import device as device",
    "from .size import Size as Size",
}
ALIASES = {  # names of types that are written in other files' annotations
    f"{name}Like": f"{PACKAGE}tensor.{file}"
    for name, file in (("Device", "device"), ("Dtype", "dtypes"), ("Size", "size"))
}


class Imports:
    """What annotations need: names become `builtins.int` or `Sequence`, and the imports follow."""

    def __init__(self, taken: set[str]) -> None:
        self.taken = taken  # names within the class, which hide those outside it
        self.lines = set(EXPORTED)

    def text(self, annotation: ast.expr | None, module: ModuleType) -> str:
        """An annotation of a file as it must stand in the stub; Any if a name is unknown."""
        if annotation is None:
            return ""
        names = {node.id for node in ast.walk(annotation) if isinstance(node, ast.Name)}
        new = {name: self._name(name, module) for name in names}
        if None in new.values():
            return new.get("Any") or self._import("typing", "Any")
        renamer = _Renamer({name: value for name, value in new.items() if value})
        return ast.unparse(renamer.visit(ast.parse(ast.unparse(annotation), mode="eval")))

    def _name(self, name: str, module: ModuleType) -> str | None:
        if name == "Tensor":
            return name
        if not hasattr(module, name):
            if not hasattr(builtins, name):
                return None
            if name in self.taken:
                self.lines.add("import builtins")
                return f"builtins.{name}"
            return name
        value = getattr(module, name)
        if isinstance(value, ModuleType):
            if value.__name__ == PACKAGE + "tensor.dtypes":
                return name
            self.lines.add(f"import {value.__name__} as {name}")
            return name
        if getattr(typing, name, None) is value:
            return self._import("typing", name)
        home = value.__module__ if isinstance(value, type) else ALIASES.get(name, module.__name__)
        return self._import(home, value.__name__ if isinstance(value, type) else name)

    def _import(self, module: str, name: str) -> str:
        if module.startswith(PACKAGE):
            parts = module.split(".")[1:]
            module = f".{parts[1]}" if parts[0] == "tensor" else "..".join(["", ".".join(parts)])
        alias = f"_{name}" if name in self.taken else name
        line = f"from {module} import {name}"
        if f"{line} as {alias}" not in EXPORTED:
            self.lines.add(line if alias == name else f"{line} as {alias}")
        return alias


class _Renamer(ast.NodeTransformer):
    def __init__(self, names: dict[str, str]) -> None:
        self.names = names

    def visit_Name(self, node: ast.Name) -> ast.expr:
        return ast.parse(self.names.get(node.id, node.id), mode="eval").body


def default(value: ast.expr) -> str:
    """A default value: constants as they are, others as "..."."""
    try:
        ast.literal_eval(value)
    except ValueError:
        return "..."
    return ast.unparse(value)


def parameters(name: str, node: ast.FunctionDef, module: ModuleType, imports: Imports) -> list[str]:
    """The parameters of a method, the first one as `self`; an operator has no keywords."""

    def one(arg: ast.arg, value: ast.expr | None = None, star: str = "") -> str:
        annotation = imports.text(arg.annotation, module)
        text = star + arg.arg + (f": {annotation}" if annotation else "")
        if value is None:
            return text
        return f"{text} = {default(value)}" if annotation else f"{text}={default(value)}"

    arguments = node.args
    plain = [*arguments.posonlyargs, *arguments.args]
    values = [None] * (len(plain) - len(arguments.defaults)) + [*arguments.defaults]
    result = ["self", *map(one, plain[1:], values[1:])]
    if name.startswith("__") and node.name != name:
        return result
    if arguments.vararg:
        result.append(one(arguments.vararg, star="*"))
    elif arguments.kwonlyargs:
        result.append("*")
    result += map(one, arguments.kwonlyargs, arguments.kw_defaults)
    if arguments.kwarg:
        result.append(one(arguments.kwarg, star="**"))
    return result


def definition(
    name: str, node: ast.FunctionDef, module: ModuleType, imports: Imports,
    marks: tuple[str, ...] = (), returns: str = "",
) -> list[str]:  # fmt: skip
    """The lines of a method: its decorators, its signature and its docstring's first line."""
    given = parameters(name, node, module, imports)
    result = returns or imports.text(node.returns, module) or "None"
    ignore = "  # type: ignore[override]" if name in ("__eq__", "__ne__") else ""
    doc = (ast.get_docstring(node) or "").partition("\n")[0]
    body = f'        """{doc}"""' if doc else ""
    lines = [f"    @{mark}" for mark in marks]
    end = f" -> {result}:" + ("" if doc else " ...") + ignore
    line = f"    def {name}({', '.join(given)}){end}"
    if len(line) > WIDTH:
        inside = ", ".join(given)
        pieces = [inside] if len(inside) + 8 <= WIDTH else [f"{piece}," for piece in given]
        lines += [f"    def {name}(", *(f"        {piece}" for piece in pieces)]
        line = f"    ){end}"
    return [*lines, line, body] if doc else [*lines, line]


def class_body(tree: ast.ClassDef, module: ModuleType, imports: Imports) -> Iterator[list[str]]:
    """The lines of everything that the class statement itself defines."""
    from tinygrad_llm.tensor.tensor import attached

    functions = {node.name: node for node in tree.body if isinstance(node, ast.FunctionDef)}
    for node in tree.body:
        if isinstance(node, ast.FunctionDef):
            marks = tuple(ast.unparse(mark) for mark in node.decorator_list)
            yield definition(node.name, node, module, imports, marks)
        elif isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name):
            if node.target.id not in attached:
                yield [f"    {node.target.id}: {imports.text(node.annotation, module)}"]
        elif isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name):
            name = node.targets[0].id
            if isinstance(node.value, ast.Name):  # another name for a method
                yield definition(name, functions[node.value.id], module, imports)
            elif isinstance(node.value, ast.Constant):
                kind = ast.Name(type(node.value.value).__name__)
                yield [f"    {name}: {imports.text(kind, module)}"]


@functools.cache
def tree_of(path: str) -> ast.Module:
    return ast.parse(Path(path).read_text(encoding="utf-8"))


def source_of(function: FunctionType) -> ast.FunctionDef:
    """The def statement of a function, found by its name and the line of its code."""
    code = function.__code__
    return next(
        node
        for node in ast.walk(tree_of(code.co_filename))
        if isinstance(node, ast.FunctionDef)
        and node.name == code.co_name
        and code.co_firstlineno in (node.lineno, *(d.lineno for d in node.decorator_list))
    )


def attached_methods(imports: Imports) -> Iterator[list[str]]:
    """The lines of what other files attach, file by file in the order of their names."""
    from tinygrad_llm.tensor.tensor import attached

    files: dict[str, list[tuple[int, int, list[str]]]] = {}
    for number, (name, value) in enumerate(attached.items()):
        getter = value.fget if isinstance(value, property) else value
        function = inspect.unwrap(getter)
        node, module = source_of(function), sys.modules[function.__module__]
        in_place = getter is not function and getter.__name__ != function.__name__
        lines = definition(
            name, node, module, imports, ("property",) * isinstance(value, property),
            returns="Tensor" if in_place and getter.__name__.endswith("_") else "",
        )  # fmt: skip
        if in_place or getter.__doc__ != function.__doc__:
            lines = with_docstring(lines, getter.__doc__ or "")
        files.setdefault(module.__name__, []).append((node.lineno, number, lines))
    for module_name in sorted(files):
        yield [f"    # {module_name.removeprefix(PACKAGE).replace('.', '/')}.py"]
        for _, _, lines in sorted(files[module_name]):
            yield lines


def with_docstring(lines: list[str], doc: str) -> list[str]:
    """A definition with another docstring: that of what was made from the function."""
    if lines[-1].lstrip().startswith('"""'):
        lines = lines[:-1]
    else:
        lines = [*lines[:-1], lines[-1].removesuffix(" ...")]
    return [*lines, f'        """{doc.partition(chr(10))[0]}"""']


def other_functions(tree: ast.Module, module: ModuleType, imports: Imports) -> list[str]:
    """The functions beside Tensor in its file."""
    lines = []
    for node in tree.body:
        if isinstance(node, ast.FunctionDef):
            given = ", ".join(
                f"{arg.arg}: {imports.text(arg.annotation, module)}" for arg in node.args.args
            )
            doc = (ast.get_docstring(node) or "").partition("\n")[0]
            returns = imports.text(node.returns, module)
            lines += ["", f"def {node.name}({given}) -> {returns}:", f'    """{doc}"""']
    return lines


def stub() -> str:
    """The whole text of the stub."""
    from tinygrad_llm import functions
    from tinygrad_llm.tensor import tensor as module

    functions.load_all()  # attaches the methods
    assert isinstance(module, ModuleType)
    tree = tree_of(str(module.__file__))
    cls = next(node for node in tree.body if isinstance(node, ast.ClassDef))
    names = {node.name for node in cls.body if isinstance(node, ast.FunctionDef)}
    imports = Imports(names | set(module.attached))
    body: list[str] = []
    for lines in (*class_body(cls, module, imports), *attached_methods(imports)):
        if lines[0].startswith("    #"):
            body.append("")
        body += lines
    others = other_functions(tree, module, imports)
    doc = (ast.get_docstring(cls) or "").partition("\n")[0]
    heading = sorted(imports.lines, key=import_order)
    return HEAD + "\n".join(
        [*heading, "", "class Tensor:", f'    """{doc}"""', "", *body, *others, ""]
    )


def import_order(line: str) -> tuple[int, str]:
    """Imports of the standard library, then of the package."""
    name = line.split()[1]
    return (2 if name.startswith(".") else line.startswith("from"), line)


def write_or_check(
    path: Path, text: str, script: str, arguments: list[str], show: Callable[[str], Any] = print
) -> int:
    """Write a file that a script generates, or with --check compare it: the exit status."""
    if "--check" not in arguments:
        path.write_text(text, encoding="utf-8")
        return 0
    current = path.read_text(encoding="utf-8") == text
    if not current:
        show(f"{path.name} is not current: python tests/{script} writes it")
    return int(not current)


def main(arguments: list[str], show: Callable[[str], Any] = print) -> int:
    """Write the stub, or with --check compare it."""
    return write_or_check(STUB, stub(), "tensor_stub.py", arguments, show)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
