"""The exercise of an op, made from the op itself: its class, with the backward left out.

The formula is the class's docstring, the solution is its backward, and the hints begin with its
saved arrays. Nothing is written twice. Who wants to derive the formula gets the file without it
(formula.py), and finds it in the last hint.
"""

from __future__ import annotations

import ast
import inspect
import sys
import textwrap
from typing import Any

from ...arrays.memory import is_array
from ...autograd.engine import OPS, Op
from ..check.samples import samples
from ..common.source import input_name
from .derivatives import DERIVATIVES, forward_that_saves_x
from .formula import formula_of, without_formula
from .hints import HINTS
from .leads import LEADS

__all__ = ["hints_of", "solution_of", "template_of"]

# Where the first statements of a loop stay as they are, because they only say which block it is.
SCAFFOLD = {"scaled_dot_product_attention": 3}

# Parts of a class that only save time: without them forward and backward are the general case's.
SHORT_WAYS = {"cross_entropy": ("few", "of_few", "backward_of_few")}
# A part of the backward pass that has its own method.
PART_OF_BACKWARD = {"scatter_reduce": ("_backward_of_prod",)}

HOW_TO_DERIVE = (
    "How to derive it: write one element of the output with its indices. Which elements of the "
    "output contain one given element of an input, and with which factor? The gradient of that "
    "element is the sum, over those outputs, of g times the factor."
)


def template_of(name: str, derive: bool = False) -> str:
    """The file that `start` writes: the op's class, with the backward left to the learner.

    derive: the formula of the backward pass is left to the learner too
    """
    return _file(name, blank=True, derive=derive)


def solution_of(name: str) -> str:
    """The same file with the true backward."""
    return _file(name, blank=False)


def _file(name: str, blank: bool, derive: bool = False) -> str:
    cls = OPS[name]
    source = _class_source(cls)
    if blank and name in PART_OF_BACKWARD:
        source = _without(source, PART_OF_BACKWARD[name])
    if derive:
        source = without_formula(source, name)
    if name in DERIVATIVES:
        source = _with_derivative(cls, source, blank)
    elif blank:
        source = _blanked(cls, source)
    about = "derive and write its backward" if derive else "write its backward"
    about = about if blank else "the solution"
    head = f'"""Exercise {name}: {about}.\n\n'
    head += f"    tinygrad-llm exercise check {name}\n    tinygrad-llm exercise hint {name}\n\n"
    head += textwrap.fill(_rules(cls), 98) + '\n"""\n\n'
    return head + _imports(cls, source) + "\n\n" + source


def _without(source: str, names: tuple[str, ...]) -> str:
    """The class without these methods and attributes, and without the statements that use them."""
    cls = ast.parse(source).body[0]
    assert isinstance(cls, ast.ClassDef)
    dropped: list[ast.stmt] = []
    for node in cls.body:
        if not isinstance(node, ast.FunctionDef):
            dropped += [node] if _stored(node) & set(names) else []
        elif node.name in names:
            dropped.append(node)
        else:
            dropped += [line for line in node.body if _attributes(line) & set(names)]
    lines = source.splitlines()
    for node in reversed(dropped):
        del lines[node.lineno - 1 : node.end_lineno]
    return "\n".join(lines).replace("\n\n\n", "\n\n") + "\n"


def _stored(node: ast.AST) -> set[str]:
    names = [n for n in ast.walk(node) if isinstance(n, ast.Name)]
    return {n.id for n in names if isinstance(n.ctx, ast.Store)}


def _attributes(node: ast.AST) -> set[str]:
    return {n.attr for n in ast.walk(node) if isinstance(n, ast.Attribute)}


def _rules(cls: type[Op]) -> str:
    names = [input_name(cls, i) for i in range(len(_inputs(cls)))]
    several = len(names) > 1
    text = "g is ∂L/∂output, an array. Return "
    text += f"∂L/∂{names[0]}" if not several else (
        "a tuple with a gradient for each input (" + ", ".join(names) + "), None for one that "
        "needs none (self.needs says which inputs need one)"
    )  # fmt: skip
    text += ". Change neither g nor what is saved"
    text += ", and do not return one array twice." if several else "."
    if cls.broadcasts:
        text += " Where shapes broadcast, the engine sums over the copies afterwards."
    if "?" in cls.signature:
        text += " An input with ? in the signature may be left out: then it is None."
    return text


def _inputs(cls: type[Op]) -> list[Any]:
    """The inputs of the call that has the most."""
    return max((s.inputs for s in samples(cls.name)), key=len)


def _class_source(cls: type[Op]) -> str:
    source = textwrap.dedent(inspect.getsource(cls))
    return _without(source, SHORT_WAYS[cls.name]) if cls.name in SHORT_WAYS else source


def _imports(cls: type[Op], source: str) -> str:
    """Imports of the names that the class uses, as in its module, or from its module."""
    if cls.name in DERIVATIVES:
        return (
            "import math\n\nimport numpy as np\n\n"
            "from tinygrad_llm.arrays.special import erf, sigmoid\n"
            f"from {cls.__module__} import {cls.__name__} as True{cls.__name__}\n"
        )
    tree = ast.parse(inspect.getsource(sys.modules[cls.__module__]))
    used = {n.id for n in ast.walk(ast.parse(_class_source(cls))) if isinstance(n, ast.Name)}
    used -= {cls.__name__}
    outer: list[str] = []
    inner: dict[str, list[str]] = {}
    for node in tree.body:
        if isinstance(node, ast.Import):
            outer += [f"import {a.name}" for a in node.names if (a.asname or a.name) in used]
        elif isinstance(node, ast.ImportFrom) and node.module != "__future__":
            for a in node.names:
                if (a.asname or a.name) in used:
                    word = f"{a.name} as {a.asname}" if a.asname else a.name
                    inner.setdefault(_absolute(node, cls.__module__), []).append(word)
        else:
            for name in _defined(node):
                if name in used:
                    inner.setdefault(cls.__module__, []).append(name)
    lines = [f"from {module} import {', '.join(names)}" for module, names in sorted(inner.items())]
    blocks = [outer, ["import numpy as np"], lines]
    return "\n\n".join("\n".join(b) for b in blocks if b) + "\n"


def _absolute(node: ast.ImportFrom, module: str) -> str:
    base = module.split(".")[: -node.level] if node.level else []
    return ".".join(base + ([node.module] if node.module else []))


def _defined(node: ast.stmt) -> list[str]:
    if isinstance(node, ast.FunctionDef | ast.ClassDef):
        return [node.name]
    if isinstance(node, ast.Assign):
        return [t.id for t in node.targets if isinstance(t, ast.Name)]
    return []


# --------------------------------------------------------------------------- the blanked backward
def _methods_of(source: str) -> dict[str, ast.FunctionDef]:
    cls = ast.parse(source).body[0]
    assert isinstance(cls, ast.ClassDef)
    return {n.name: n for n in cls.body if isinstance(n, ast.FunctionDef)}


def _backward_of(source: str) -> ast.FunctionDef:
    return _methods_of(source)["backward"]


def _blanked(cls: type[Op], source: str) -> str:
    """The class without the lines of its backward, except those that name the saved arrays."""
    lines = source.splitlines()
    function = _backward_of(source)
    body = function.body
    if cls.name in SCAFFOLD:
        return _blanked_loop(cls, lines, _methods_of(source))
    kept = [s for s in body[:1] if "self.saved" in _text(lines, s) and isinstance(s, ast.Assign)]
    if kept and isinstance(kept[0].targets[0], ast.Tuple | ast.Name):
        first = body[1] if len(body) > 1 else body[0]
    else:
        first, kept = body[0], []
    if kept and len(body) == 1:
        first = body[0]
    start, stop = first.lineno - 1, body[-1].end_lineno or first.lineno
    return "\n".join(lines[:start] + _blank_lines(cls) + lines[stop:]) + "\n"


def _text(lines: list[str], node: ast.stmt) -> str:
    return "\n".join(lines[node.lineno - 1 : node.end_lineno])


def _blank_lines(cls: type[Op]) -> list[str]:
    n = len(_inputs(cls))
    names = ", ".join(f"∂L/∂{input_name(cls, i)}" for i in _grad_inputs(cls))
    what = ", ".join(["None"] * n)
    return [f"        # your lines: {names}", f"        return {what}"]


def _grad_inputs(cls: type[Op]) -> list[int]:
    """The inputs that get a gradient on some call."""
    return sorted({i for s in samples(cls.name) for i in s.run(cls).grad_inputs})


def _blanked_loop(cls: type[Op], lines: list[str], methods: dict[str, ast.FunctionDef]) -> str:
    """The class without the rest of the loop in backward, or in a method that backward calls."""
    nodes, called = [], ["backward"]
    for name in called:  # which grows
        nodes += list(ast.walk(methods[name]))
        attributes = [n.attr for n in nodes if isinstance(n, ast.Attribute)]
        called += [a for a in dict.fromkeys(attributes) if a in methods and a not in called]
    loop = next(n for n in nodes if isinstance(n, ast.For))
    first = loop.body[SCAFFOLD[cls.name]]
    names = ", ".join(f"∂L/∂{input_name(cls, i)}" for i in _grad_inputs(cls))
    indent = " " * first.col_offset
    blank = [f"{indent}# your lines, for this block: {names}"]
    stop = loop.end_lineno or loop.lineno
    return "\n".join(lines[: first.lineno - 1] + blank + lines[stop:]) + "\n"


# -------------------------------------------------------- activations that save their derivative
def _with_derivative(cls: type[Op], source: str, blank: bool) -> str:
    """The class with x saved in place of f′, so that computing f′ is the exercise."""
    doc = ast.get_docstring(ast.parse(source).body[0], clean=False) or ""  # type: ignore[arg-type]
    doc = (
        doc.rstrip() + "\n\n    The op saves f′ itself; here x is saved, and f′ is your task.\n    "
    )
    made = f'class {cls.__name__}(True{cls.__name__}):\n    """{doc}"""\n\n'
    made += forward_that_saves_x() + "\n    def backward(self, g):\n        (x,) = self.saved\n"
    lines = _blank_lines(cls) if blank else [f"        {line}" for line in DERIVATIVES[cls.name]]
    return made + "\n".join(lines) + "\n"


# ------------------------------------------------------------------------------------------ hints
def hints_of(name: str, derive: bool = False) -> list[str]:
    """Hints in stages: what is saved, the shapes of the gradients, the method, then the lines.

    derive: for a file without the formula: the formula is the last hint, and none before states it
    """
    cls = OPS[name]
    hints = [_about_saved(cls), _about_gradients(cls)]
    formula = formula_of(inspect.getdoc(cls) or "")
    if derive:
        return [*hints, HOW_TO_DERIVE, *LEADS.get(name, ()), f"The formula: {formula}"]
    if name in HINTS:
        return hints + list(HINTS[name])
    if formula:
        hints.append(f"The formula: {formula}")
    lines = _answer(cls)
    return hints + [f"Line {i + 1} of {len(lines)}: {text}" for i, text in enumerate(lines)]


def _answer(cls: type[Op]) -> list[str]:
    """The statements of the true backward, one line each, without that of the saved arrays."""
    source = _class_source(cls)
    lines = source.splitlines()
    texts = [" ".join(_text(lines, s).split()) for s in _backward_of(source).body]
    return texts[1:] if texts[0].endswith("= self.saved") else texts


def _about_saved(cls: type[Op]) -> str:
    """The shapes of the saved arrays in the worked example."""
    ran = samples(cls.name)[0].run(cls)
    arrays = [x for x in ran.sample.inputs if is_array(x)]
    shapes = ", ".join(
        f"{input_name(cls, i)} {x.shape}" for i, x in enumerate(ran.sample.inputs) if is_array(x)
    )
    if cls.name in DERIVATIVES:
        return f"What is saved: x itself, {arrays[0].shape} in the worked example."
    parts = [f"{a.shape} {a.dtype}" for a in ran.op.saved if is_array(a)]
    if not parts:
        return f"Nothing is saved: g and the shapes are enough. In the worked example: {shapes}."
    line = next(
        (t.strip() for t in inspect.getsource(cls.forward).splitlines() if "self.saved" in t), ""
    )
    return (
        f"What the saved arrays are: forward has `{line}`. In the worked example, with {shapes}, "
        f"that is {', '.join(parts)}."
    )


def _about_gradients(cls: type[Op]) -> str:
    ran = samples(cls.name)[0].run(cls)
    leaves = ", ".join(f"∂L/∂{input_name(cls, i)} {ran.shape(i)}" for i in ran.grad_inputs)
    arrives = ", ".join(str(u.shape) for u in ran.upstream)
    return (
        f"Shapes: g arrives as {arrives}; return {leaves}. A gradient has the shape of its input."
    )
