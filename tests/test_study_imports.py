"""study.explain, study.trace and study.draw are functions, whichever module is imported first."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import tinygrad_llm

STUDY = Path(tinygrad_llm.__file__).parent / "study"
MODULES = sorted(
    ".".join(path.relative_to(STUDY.parent.parent).with_suffix("").parts).removesuffix(".__init__")
    for path in STUDY.rglob("*.py")
    if "tasks" not in path.parts and path.parts[-2:] != ("doctor", "child.py")  # programs
)
PROGRAM = """
import importlib
import inspect
import sys
from types import ModuleType

import tinygrad_llm

for module in sys.argv[1:]:
    for name in [name for name in sys.modules if name.startswith("tinygrad_llm.study")]:
        del sys.modules[name]
    vars(tinygrad_llm).pop("study", None)
    assert isinstance(importlib.import_module(module), ModuleType), module
    from tinygrad_llm.study.draw import page
    from tinygrad_llm.study.explain import names
    from tinygrad_llm.study.trace import text
    from tinygrad_llm import study
    from tinygrad_llm.study import draw, explain, trace

    for part in (page, names, text):
        assert isinstance(part, ModuleType), (module, part)
    for function in (draw, explain, study.compare, study.diagnose, study.draw, study.explain):
        assert inspect.isfunction(function), (module, function)
    assert inspect.isclass(trace) or inspect.isfunction(trace), (module, trace)
    assert trace is study.trace, module
print(len(sys.argv) - 1)
"""


def test_every_order_of_imports_gives_the_functions():
    done = subprocess.run([sys.executable, "-c", PROGRAM, *MODULES], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert int(done.stdout) == len(MODULES) > 60
