"""The house rules, read from the source: floors, sizes, docstrings, what importing costs."""

from __future__ import annotations

import ast
import functools
import re
import subprocess
import sys
import unicodedata
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import NamedTuple

import house
import pytest
from cases import CASES

import tinygrad_llm
from tinygrad_llm.autograd.engine import OPS, Op
from tinygrad_llm.study.check.reference import TWINS
from tinygrad_llm.tensor import shapes

ROOT = Path(tinygrad_llm.__file__).parent
FILES = sorted(ROOT.rglob("*.py"))

ALLOWED_EXTRAS = {"ml_dtypes", "threadpoolctl"}  # used where installed, never needed


class File(NamedTuple):
    """A file of the package, read and parsed once."""

    path: Path
    text: str
    tree: ast.Module

    def imports(self) -> set[str]:
        """The first words of everything that it imports, also within functions."""
        module = house.module_of(self.path)
        package = module if self.path.name == "__init__.py" else module.rpartition(".")[0]
        names = house.names_imported_by(self.tree, package)
        return {name.split(".")[0] for _, name in names}

    def is_in(self, *places: str) -> bool:
        """Whether its dotted name begins with one of the places."""
        return house.module_of(self.path).startswith(places)


RULES: list[Callable[[File], Iterable[object]]] = []


def rule(function):
    """A decorator: what a file does against a rule, which test_every_file tries on all files."""
    RULES.append(function)
    return function


@functools.cache
def faults() -> dict[str, list[str]]:
    """What all files do against each of the rules, by the rule's name."""
    listed: dict[str, list[str]] = {function.__name__: [] for function in RULES}
    for path in FILES:
        text = path.read_text(encoding="utf-8")
        file = File(path, text, ast.parse(text))
        for function in RULES:
            listed[function.__name__] += [f"{name_of(path)}: {x}" for x in function(file)]
    return listed


# ------------------------------------------------------------------------------------- floors
def test_every_room_has_a_floor():
    rooms = {house.room_of(module) for module in house.FILES if module}
    assert not rooms - set(house.FLOOR), "new rooms: give them a floor in tests/house.py"
    assert not set(house.FLOOR) - rooms, "rooms that are gone"


def test_imports_lead_down():
    assert not house.steps_up()


def test_no_circle_between_files():
    """Inside a room too, and through imports that run late."""
    assert not house.circles(house.arrows_of())


def test_no_circle_in_the_benchmarks():
    assert not house.circles(house.arrows_of(ROOT.parent / "benchmarks"))


def test_who_uses_the_instruments():
    """Only the commands use study; lessons do too."""
    users = {
        house.room_of(module).split(".")[0]
        for module in house.FILES
        if any(target.split(".")[0] == "study" for _, target in house.imports(module))
    }
    assert users <= {"study", "cli", "serve"}


@rule
def imports_cupy(file):
    if not file.is_in("arrays.", "ops.cuda", "distributed."):
        yield from (name for name in file.imports() if name.startswith("cupy"))
        yield from re.findall(r"import_module\(['\"]cupy", file.text)


@rule
def imports_numba(file):
    if not file.is_in("ops.loops."):
        yield from file.imports() & {"numba", "llvmlite"}
        yield from re.findall(r"import_module\(['\"]numba", file.text)


@rule
def imports_pickle(file):
    return file.imports() & {"pickle", "cPickle", "dill", "cloudpickle", "marshal"}


@rule
def holds_a_placeholder(file):
    unwritten = r"\b(?:TODO|FIXME|XXX)\b|raise NotImplementedError\s*$"
    return re.findall(unwritten, file.text, re.M)


@rule
def an_op_that_knows_a_device(file):
    if file.path.parent == ROOT / "ops":
        yield from file.imports() & {"numpy"}
        code = re.sub(r'("""[\s\S]*?""")|(#.*)', "", file.text)
        yield from re.findall(r"\b(?:np|numpy|cupy|ndarray|isinstance\(x)\b", code)


# ------------------------------------------------------------------------------------- lines
def columns(line: str) -> int:
    """How wide a line is, without combining marks (the hat of x̂) and without pragmas."""
    line = re.sub(r"\s+# (noqa|type: ignore|fmt:).*", "", line)
    return sum(not unicodedata.combining(c) for c in line)


@rule
def a_line_longer_than_100_columns(file):
    for i, line in enumerate(file.text.splitlines(), 1):
        if len(line) > 100 and columns(line) > 100 and "https://" not in line:
            yield i


MOST_LINES_OF_A_FILE = 500
MOST_LINES_OF_A_FUNCTION = 60
MOST_LINES_OF_THE_BACKWARD_LOOP = 40  # it reads on one screen
MOST_FILES_AT_THE_ROOT = 6


def name_of(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


def functions_of(tree: ast.Module) -> list[tuple[str, int]]:
    """(name, lines of the body) of every function and method of a file.

    Signature and docstring do not count, so that a command with thirty options is not a long one.
    """
    functions = []
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            body = node.body[ast.get_docstring(node, clean=False) is not None :]
            lines = body[-1].end_lineno - body[0].lineno + 1 if body else 0
            functions.append((node.name, lines))
    return functions


def test_no_file_is_too_long():
    files = {
        name_of(path)
        for path in [*FILES, *ROOT.rglob("*.cu"), *ROOT.rglob("*.cuh"), *ROOT.rglob("*.js")]
        if len(path.read_text(encoding="utf-8").splitlines()) > MOST_LINES_OF_A_FILE
    }
    assert not files, "too long: divide them"


@rule
def a_function_that_is_too_long(file):
    """Give names to its parts."""
    for name, lines in functions_of(file.tree):
        if lines > MOST_LINES_OF_A_FUNCTION:
            yield name


MOST_ARGUMENTS = 10
PYTORCHS = {
    "Adam", "AdamW", "Conv1d", "DataLoader", "DistributedDataParallel", "EmbeddingBag", "Embedding",
    "MultiheadAttention", "OneCycleLR", "PipelineStage", "RMSprop", "Transformer", "_Layer",
}  # fmt: skip
# One class serves every model: each argument is one fact of published models, and a layer does not
# see a model's config.
ONE_FOR_ALL_MODELS = {"Attention", "LatentAttention", "MixtureOfExperts"}
# A dataclass of options is the one list of them: who makes one names those that differ. So is the
# config of a model, whose fields are those of published files.
OPTIONS = {"Options", "TrainingOptions", "ModelConfig", "Settings"}


def classes_of(path: Path) -> list[tuple[str, list[str], list[str]]]:
    """(class, its bases, the arguments of its constructor) of every class of a file.

    A dataclass without an __init__ has one argument for each of its fields, those of its bases
    aside.
    """
    classes = []
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if not isinstance(node, ast.ClassDef):
            continue
        bases = [ast.unparse(base).rpartition(".")[2] for base in node.bases]
        written = [f for f in node.body if isinstance(f, ast.FunctionDef) and f.name == "__init__"]
        if written:
            a = written[0].args
            names = [x.arg for x in [*a.posonlyargs, *a.args, *a.kwonlyargs]][1:]
        else:
            names = [
                ast.unparse(field.target)
                for field in node.body
                if isinstance(field, ast.AnnAssign)
                and any("dataclass" in ast.unparse(mark) for mark in node.decorator_list)
                and "ClassVar" not in ast.unparse(field.annotation)
                and "init=False" not in ast.unparse(field.value or field.target)
            ]
        classes.append((node.name, bases, names))
    return classes


def test_no_constructor_takes_many_arguments():
    classes = [(name_of(path), *each) for path in FILES for each in classes_of(path)]
    options, before = set(OPTIONS), 0
    while len(options) > before:
        before = len(options)
        options |= {name for _, name, bases, _ in classes if options & set(bases)}
    wide = [
        f"{file}: {name}({len(names)})"
        for file, name, _, names in classes
        if len(names) > MOST_ARGUMENTS and name not in PYTORCHS | ONE_FOR_ALL_MODELS | options
    ]
    assert not wide, "too many arguments: group them in a dataclass of options"
    assert len(options) > 10 and "PretrainOptions" in options


def test_no_command_takes_many_arguments():
    """Also the functions that cli/options.py gives the flags of a dataclass."""
    wide = [
        f"{name_of(path)}: {node.name}({len(node.args.args + node.args.kwonlyargs)})"
        for path in sorted((ROOT / "cli").rglob("*.py"))
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.FunctionDef)
        and len(node.args.posonlyargs + node.args.args + node.args.kwonlyargs) > MOST_ARGUMENTS
    ]
    assert not wide, wide


@rule
def a_statement_that_hides_in_an_expression(file):
    """`f(x) if y else g(x)` and `y and f(x)` as statements are if statements."""
    hiding = ast.IfExp | ast.BoolOp | ast.Tuple
    for node in ast.walk(file.tree):
        if isinstance(node, ast.Expr) and isinstance(node.value, hiding):
            yield node.lineno


def test_the_backward_loop_reads_on_one_screen():
    engine = (ROOT / "autograd" / "engine.py").read_text(encoding="utf-8")
    lines = dict(functions_of(ast.parse(engine)))["backward_steps"]
    assert lines <= MOST_LINES_OF_THE_BACKWARD_LOOP


def test_few_files_at_the_root():
    files = sorted(path.name for path in ROOT.iterdir() if path.is_file())
    assert len(files) <= MOST_FILES_AT_THE_ROOT, files


def test_the_page_of_folders_is_current():
    """The same folders and descriptions; numbers may be off by a tenth."""
    written, now = house.written_folders(), house.folders()
    again = "run python tests/house.py --page"
    assert [(row.name, row.text) for row in written] == [(row.name, row.text) for row in now], again
    for old, new in zip(written, now, strict=True):
        assert abs(old.files - new.files) <= max(1, 0.1 * new.files), f"{new.name}: {again}"
        assert abs(old.lines - new.lines) <= max(20, 0.1 * new.lines), f"{new.name}: {again}"


# ------------------------------------------------------------------------- what importing costs
def test_importing_needs_numpy_alone():
    code = (
        "import sys; before = set(sys.modules); import tinygrad_llm\n"
        "print(' '.join(sorted({m.partition('.')[0] for m in set(sys.modules) - before})))"
    )
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    foreign = set(out.stdout.split()) - sys.stdlib_module_names - {"numpy", "tinygrad_llm"}
    foreign = {m for m in foreign if not m.startswith("_")}
    assert not foreign - ALLOWED_EXTRAS, foreign


def test_importing_brings_in_nothing_slow():
    """In addition to NumPy's imports a few small modules: 1.3 times NumPy's time in all."""
    code = (
        "import sys, numpy; before = set(sys.modules); import tinygrad_llm\n"
        "print(' '.join(sorted(set(sys.modules) - before)))"
    )
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    added = {m for m in out.stdout.split() if not m.startswith("tinygrad_llm")}
    slow = {"dataclasses", "difflib", "concurrent.futures", "inspect", "asyncio", "json"}
    assert not added & slow, f"import them where they are used: {added & slow}"
    assert len(added) <= 8, added
    own = [m for m in out.stdout.split() if m.startswith("tinygrad_llm")]
    assert len(own) <= 62, "a file that not every program uses is loaded when first used"


def test_packages_are_there_after_a_plain_import():
    """Imported when first used, listed by dir(), and an error names the nearest name."""
    code = """
import tinygrad_llm as torch
assert {"nn", "optim", "utils", "randn", "save"} <= set(dir(torch))
torch.nn.Linear(2, 2), torch.optim.AdamW, torch.utils.data.DataLoader, torch.nn.functional.relu
for wrong, right in (("optin", "optim"), ("cross_entropyy", ""), ("ranperm", "randperm")):
    try:
        getattr(torch, wrong)
    except AttributeError as error:
        assert f"tinygrad_llm has no {wrong!r}" in str(error) and right in str(error), error
    else:
        raise AssertionError(wrong)
"""
    subprocess.run([sys.executable, "-c", code], check=True)


def test_the_core_works_without_the_extras():
    """NumPy alone is enough to make a model and train a step."""
    code = """
import sys
for name in ("ml_dtypes", "threadpoolctl", "typer", "rich", "matplotlib", "tiktoken",
             "safetensors", "hypothesis", "torch", "cupy"):
    sys.modules[name] = None
import tinygrad_llm as torch
from tinygrad_llm import nn
net = nn.Sequential(nn.Linear(3, 4), nn.GELU(), nn.LayerNorm(4), nn.Linear(4, 2))
optimizer = torch.optim.AdamW(net.parameters(), lr=0.1)
x, y = torch.randn(8, 3), torch.randint(0, 2, (8,))
first = None
for _ in range(20):
    loss = nn.functional.cross_entropy(net(x), y)
    optimizer.zero_grad(); loss.backward(); optimizer.step()
    first = first or loss.item()
assert loss.item() < first
print(x)
"""
    subprocess.run([sys.executable, "-c", code], check=True, capture_output=True)


# --------------------------------------------------------------------------------- every op
def test_every_op_has_a_case():
    without = set(OPS) - {case.op.name for case in CASES}
    assert not without, f"they have no row in cases.py: {sorted(without)}"


def test_every_op_is_explained():
    """A formula and a derivation of backward in the docstring; a signature that can be parsed."""
    for name, op in OPS.items():
        formula, backward, derivation = (op.__doc__ or "").partition("Backward")
        assert backward, f"{name}: the docstring derives no backward"
        assert re.search(r"[=≈·]|->", formula), f"{name}: no formula"
        assert re.search(r"∂\S*/∂|\bg\b", derivation), f"{name}: no gradient"
        assert all(shapes.parse(op.signature)[:2]), name


def test_every_op_defines_forward_and_backward():
    for name, op in OPS.items():
        assert op.forward is not Op.forward and op.backward is not Op.backward, name


def test_every_op_has_an_oracle():
    without = [case.id for case in CASES if case.oracle is None and case.twin is None]
    assert not without, without


def test_every_twin_belongs_to_an_op():
    assert not set(TWINS) - set(OPS)


def test_names_of_rows_are_unique():
    ids = [case.id for case in CASES]
    assert len(set(ids)) == len(ids)


# -------------------------------------------------------------------------------- docstrings
DOCUMENTED = {
    path
    for path in FILES
    if path.parent == ROOT
    or path.relative_to(ROOT).parts[0] in ("functions", "nn", "optim", "utils", "models")
    or path.name in ("finite_differences.py", "strategies.py")
}


def public_functions(tree: ast.Module) -> list[tuple[str, str]]:
    """(name, docstring) of what a module defines for others."""
    functions = []
    for node in tree.body:
        if isinstance(node, ast.FunctionDef | ast.ClassDef) and not node.name.startswith("_"):
            if all(isinstance(inner, ast.Assign | ast.Pass) for inner in node.body):
                continue  # another name for its base class
            if any(ast.unparse(mark) == "overload" for mark in node.decorator_list):
                continue  # the last one says what it does
            functions.append((node.name, ast.get_docstring(node) or ""))
    return functions


@rule
def a_public_name_without_docstring(file):
    if file.path in DOCUMENTED:
        yield from (name for name, text in public_functions(file.tree) if not text)


@rule
def does_not_say_what_it_holds(file):
    if file.text.strip() and not ast.get_docstring(file.tree):
        yield "no docstring"


def raised_in(function: ast.FunctionDef) -> set[str]:
    """What the statements of a function raise, without those of functions and classes within it."""
    raised, nodes = set(), list(function.body)
    while nodes:
        node = nodes.pop()
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            continue
        if isinstance(node, ast.Raise):
            error = node.exc.func if isinstance(node.exc, ast.Call) else node.exc
            raised.add(ast.unparse(error) if error else "raise")
        nodes.extend(ast.iter_child_nodes(node))
    return raised


def functions_that_raise(tree: ast.Module) -> list[ast.FunctionDef]:
    """Public functions and methods of public classes; an abstract method's error does not count."""
    bodies = [tree.body]
    bodies += [n.body for n in tree.body if isinstance(n, ast.ClassDef) and n.name[0] != "_"]
    return [
        node
        for body in bodies
        for node in body
        if isinstance(node, ast.FunctionDef) and node.name[0] != "_"
        if raised_in(node) - {"NotImplementedError"}
    ]


@rule
def a_docstring_that_does_not_say_what_is_raised(file):
    for node in functions_that_raise(file.tree):
        if "Raises:" not in (ast.get_docstring(node) or ""):
            yield f"{node.lineno}: {node.name}"


@rule
def raises_within_a_line(file):
    kinds = ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef
    for node in ast.walk(file.tree):
        if isinstance(node, kinds):
            for line in (ast.get_docstring(node) or "").splitlines():
                if "Raises:" in line and not line.lstrip().startswith("Raises:"):
                    yield line


# ------------------------------------------------------------------------------ all the rules
@pytest.mark.parametrize("name", [function.__name__ for function in RULES])
def test_no_file(name):
    assert not faults()[name], faults()[name]


def test_each_rule_finds_a_fault():
    """A file that breaks all of them, as it would stand among the ops."""
    lines = "    x = 1\n" * (MOST_LINES_OF_A_FUNCTION + 1)
    text = f"""import cupy, numba, pickle, numpy as np  # TODO

class Bad:
    def method(self):
        \'\'\'Do it. Raises: an error.\'\'\'

def silent(x):
    x and x()
{lines}    raise ValueError{"  # " + "x" * 100}
"""
    place = ROOT / "ops" / "invented.py"
    for function in RULES:
        path = min(DOCUMENTED) if "public_name" in function.__name__ else place
        assert list(function(File(path, text, ast.parse(text)))), function.__name__
