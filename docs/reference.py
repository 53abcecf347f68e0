"""The table of ops, the pages that explain, and the reference of names, from docstrings alone."""

from __future__ import annotations

import importlib
import inspect
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

__all__ = ["write_api", "write_explained", "write_ops"]

ROOT = Path(__file__).resolve().parent.parent
API: dict[str, tuple[str, ...]] = {  # page -> its title, and the packages or modules in it
    "functions": ("torch.*: functions of tensors", "functions"),
    "tensor": ("Tensor", "tensor"),
    "autograd": ("torch.autograd", "autograd"),
    "nn": ("torch.nn: layers and losses", "nn"),
    "optim": ("torch.optim: optimizers and schedules", "optim"),
    "utils-data": ("torch.utils.data", "utils/data"),
    "distributions": ("torch.distributions", "distributions"),
    "distributed": ("torch.distributed", "distributed"),
    "cuda": ("torch.cuda: GPUs, their memory, streams and graphs", "cuda"),
    "amp": ("torch.amp: mixed precision", "amp"),
    "random": ("torch.random, and Generator", "random/__init__.py", "random/generator.py"),
    "jit": ("torch.jit", "jit"),
    "profiler": ("torch.profiler", "profiler"),
    "layers": ("Layers of language models", "layers"),
    "models": ("Models", "models"),
    "generation": ("Generation", "generation"),
    "text": ("Tokenizers", "text"),
    "data": ("Corpora and batches", "data"),
    "training": ("Training", "training"),
    "finetune": ("Fine-tuning", "finetune"),
    "evaluation": ("Evaluation", "evaluation"),
    "retrieval": ("Retrieval", "retrieval"),
    "weights": ("Files of weights", "weights"),
    "study": ("Instruments of study", "study"),
    "serialization": ("torch.save and torch.load", "serialization.py"),
}
OF_PYTORCH = (
    "functions",
    "tensor",
    "autograd",
    "nn",
    "optim",
    "utils-data",
    "distributions",
    "cuda",
    "amp",
    "random",
    "jit",
    "profiler",
    "serialization",
)
AND = {  # page -> what else its reader looks for
    "amp": "`autocast` and `is_autocast_enabled` stand among the [functions](functions.md), each "
    "of which knows in which precision it computes.",
    "random": "The functions that draw, such as `torch.randn`, are among the "
    "[functions](functions.md).",
}
DIFFERENCES = (
    "Names, arguments and defaults are PyTorch's. "
    "[What differs from PyTorch](../guide/pytorch.md) lists where they are not, and "
    "[Closeness](../project/closeness.md) how far the numbers are apart; what concerns one name "
    "stands at that name too."
)
FORMULAS = (
    "---\nhide: [toc, navigation]\n---\n\n# Formulas of everything explained\n\n"
    "The search finds these sections; each leads to its page."
)


def _package_ops() -> Iterator[tuple[str, type]]:
    from tinygrad_llm import ops
    from tinygrad_llm.autograd.engine import OPS

    for name in dir(ops):
        getattr(ops, name)  # imports its file
    for name, op in sorted(OPS.items()):
        if op.__module__.startswith("tinygrad_llm."):
            yield name, op


def write_ops(path: Path) -> None:
    """One table: each op, its formula, its derivative, what it saves, and where it stands."""
    rows = []
    for name, op in _package_ops():
        formula, backward, saves = _parts(inspect.getdoc(op) or "")
        file = Path(inspect.getsourcefile(op) or "").relative_to(ROOT).as_posix()
        line = inspect.getsourcelines(op)[1]
        cells = [
            f"[`{name}`](../explain/{_file(name)})",
            _cell(formula),
            _cell(backward),
            _cell(saves),
        ]
        rows.append(
            "| " + " | ".join([*cells, f"`{file.removeprefix('tinygrad_llm/')}:{line}`"]) + " |"
        )
    head = (
        "---\nhide: [toc, navigation]\n---\n\n# Every op\n\nThe formula, the derivative and what "
        "is kept, as they stand in the docstrings; g is ∂L/∂y. The name leads to the page that "
        "explains the op with numbers.\n\n"
        '<div class="ops" markdown>\n\n'
        "| op | y | backward | saves | source |\n|---|---|---|---|---|\n"
    )
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(head + "\n".join(rows) + "\n\n</div>\n", encoding="utf-8")


def _parts(doc: str) -> tuple[str, str, str]:
    """Formula, derivative and what is saved, of an op's docstring."""
    formula, _, rest = doc.partition("Backward")
    backward, _, saves = rest.partition("Saves")
    return formula.strip(), backward.lstrip(": ,").strip(), saves.strip().rstrip(".")


def _cell(text: str) -> str:
    """A text in a cell of a table, its lines kept and its formulas as MathML."""
    from tinygrad_llm.study.common.formulas import with_gaps

    lines = [with_gaps(line) for line in _joined(text)]
    return "<br>".join(lines).replace("|", "&#124;").replace("*", "&#42;").replace("_", "&#95;")


def _joined(text: str) -> list[str]:
    """The lines of a text; sentences that were wrapped are one line again."""
    lines: list[str] = []
    wraps = False
    for line in text.splitlines():
        indented = line.startswith("    ") or not line.strip()
        if wraps and not indented:
            lines[-1] += f" {line.strip()}"
        elif line.strip():
            lines.append(line.strip())
        wraps = not indented
    return lines


def _file(name: str) -> str:
    """The file of the page that explains it; "index" would be the folder's own page."""
    plain = re.sub(r"[^\w.-]+", "_", name).strip("_")
    return f"{plain}-op.html" if plain == "index" else f"{plain}.html"


def write_explained(folder: Path) -> None:
    """A page for each thing that explain knows, and the index of all of them."""
    from tinygrad_llm.study import explain
    from tinygrad_llm.study.explain.diagrams import drawing_of
    from tinygrad_llm.study.explain.names import catalogue, lookup

    (folder / "steps").mkdir(parents=True, exist_ok=True)
    parts = [
        "# Explained\n\nFormula, derivation, source, an example with numbers, memory, and a live "
        "check of each."
    ]
    formulas = [FORMULAS]
    for family, entries in catalogue().items():
        parts.append(f"## {family}\n")
        rows = []
        for name, first in entries:
            explanation = explain(name)
            links = {
                "Start": "../index.html",
                "All pages": "../all-pages.html",
                "All pages that explain": "index.html",
            }
            drawing = drawing_of(explanation.data, lookup(name))
            if drawing is not None and drawing.steps:
                links[f"Step through its {_steps_of(explanation)}"] = f"steps/{_file(name)}"
                drawing.html(folder / "steps" / _file(name), _back(name))
            explanation.html(folder / _file(name), links)
            rows.append(f"- [`{name}`]({_file(name)}): {_cell(first)}")
            formulas.append(_formulas_of(name, lookup(name)))
        listed = "\n".join(rows)
        parts.append(f'<div class="listed" markdown>\n\n{listed}\n\n</div>')
    (folder / "index.md").write_text("\n\n".join(parts) + "\n", encoding="utf-8")
    (folder / "formulas.md").write_text("\n\n".join(formulas) + "\n", encoding="utf-8")


def _steps_of(explanation: Any) -> str:
    kinds = {"optimizer": "path downhill", "schedule": "rates",
             "collective": "forward and backward pass on two ranks"}  # fmt: skip
    data = explanation.data
    without_graph = data["kind"] == "layer" and not data["example"]["gradients"]
    return kinds.get(data["kind"], "memory" if without_graph else "backward pass")


def _formulas_of(name: str, what: type) -> str:
    """A section of the page that the search knows: formula, derivative, and its page."""
    formula, backward, _ = _parts(inspect.getdoc(what) or "")
    formula = formula.partition("\n\n")[0]
    shown = [f"## {name}", _cell(formula)]
    if backward:
        shown.append(f"Backward: {_cell(backward)}")
    shown.append(f"[`{name}`: the forward and the backward pass, with numbers]({_file(name)})")
    return "\n\n".join(shown)


def _back(name: str) -> dict[str, str]:
    """The links of the page that steps through the backward pass of `name`."""
    return {
        "Start": "../../index.html",
        "All pages": "../../all-pages.html",
        f"{name} explained": f"../{_file(name)}",
    }


def write_api(folder: Path) -> None:
    """One page for each package: every module with public names, for mkdocstrings."""
    folder.mkdir(parents=True, exist_ok=True)
    for page, (title, *places) in API.items():
        parts = [entry for place in places for entry in _entries(ROOT / "tinygrad_llm" / place)]
        if page in AND:
            parts.insert(0, AND[page])
        if page in OF_PYTORCH:
            parts.insert(0, DIFFERENCES)
        text = "\n\n".join(parts)
        (folder / f"{page}.md").write_text(f"# {title}\n\n{text}\n", encoding="utf-8")


def _entries(place: Path) -> Iterator[str]:
    """The modules of a package, or the one module, that define public names.

    Of an `__init__.py` only what it defines: what it imports has its entry elsewhere.
    """
    for file in sorted(place.rglob("*.py")) if place.is_dir() else [place]:
        source = file.read_text(encoding="utf-8")
        defined = re.findall(r"^(?:def|class) ([A-Za-z]\w*)", source, re.M)
        module = ".".join(file.relative_to(ROOT).with_suffix("").parts)
        if file.name == "__init__.py":
            module = module.removesuffix(".__init__")
            public = getattr(importlib.import_module(module), "__all__", ())
            members = [name for name in defined if name in public]
            if members:
                yield f"::: {module}\n    options:\n      members: [{', '.join(members)}]"
        elif defined and not file.name.startswith("_"):
            yield f"::: {module}"
