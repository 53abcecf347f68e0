"""The list of Tensor's methods that editors and mypy read, tensor/__init__.pyi."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import tensor_stub

from tinygrad_llm import Tensor
from tinygrad_llm.tensor.missing_names import names_of

LISTED = {
    getattr(node, "name", None) or node.target.id: node
    for statement in ast.parse(tensor_stub.STUB.read_text(encoding="utf-8")).body
    if isinstance(statement, ast.ClassDef)
    for node in statement.body
    if isinstance(node, ast.FunctionDef | ast.AnnAssign)
}


def test_it_is_current():
    """A separate process: other tests exchange methods."""
    script = Path(tensor_stub.__file__)
    done = subprocess.run([sys.executable, script, "--check"], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr


def test_every_attribute_is_listed():
    python = {"__module__", "__dict__", "__weakref__", "__doc__", "__annotations__"}
    own = names_of(Tensor) & set(vars(Tensor))
    assert not own - python - set(LISTED)


def test_signatures_are_those_of_the_source():
    lines = {name: ast.unparse(node).splitlines()[0] for name, node in LISTED.items()}
    assert lines["softmax"].startswith("def softmax(self, dim: builtins.int | None=None")
    assert lines["add_"].endswith("-> Tensor:")
    assert lines["__add__"] == "def __add__(self, other: Any) -> Tensor:"
    assert "*shape: SizeLike" in lines["reshape"]
    assert ast.unparse(LISTED["T"]).startswith("@property")
    assert lines["_grad"] == "_grad: Tensor | None"
    assert "def grad(self)" in ast.unparse(LISTED["grad"])


def test_what_it_says_of_an_unknown_name():
    imports = tensor_stub.Imports(set())
    unknown = ast.parse("SomethingElse | None", mode="eval").body
    assert imports.text(unknown, tensor_stub) == "Any"
    assert "from typing import Any" in imports.lines


def test_main_writes_and_checks(tmp_path, monkeypatch):
    path = tmp_path / "stub.pyi"
    monkeypatch.setattr(tensor_stub, "STUB", path)
    monkeypatch.setattr(tensor_stub, "stub", lambda: "class Tensor: ...\n")
    lines: list[str] = []
    assert tensor_stub.main([]) == 0
    assert tensor_stub.main(["--check"]) == 0
    path.write_text("older")
    assert tensor_stub.main(["--check"], lines.append) == 1
    assert "python tests/tensor_stub.py" in lines[0]
