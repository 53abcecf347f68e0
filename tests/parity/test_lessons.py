"""Every lesson under PyTorch too, with the imports changed: it must print the same.

The cells tagged "package", `# %% tags=["package"]`, are left out: they use what PyTorch does not
have, or print times.
A script that never imports the package under PyTorch's name has nothing to compare.
"""

from __future__ import annotations

import contextlib
import io
import re
import sys
from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch")

LESSONS = Path(__file__).resolve().parents[2] / "lessons"
sys.path.insert(0, str(LESSONS))

import run_all  # noqa: E402

FILES = [
    p
    for p in [*run_all.lessons(), *run_all.solutions()]
    if p.parent.name != "00_backprop"
    and "import tinygrad_llm as torch" in p.read_text(encoding="utf-8")
]
NUMBER = re.compile(r"-?\d+\.\d*(?:e[+-]?\d+)?")
NAMES = r"nn|nn\.functional|optim|utils\.data"  # names of PyTorch's packages


def cells(source: str) -> str:
    """The cells that PyTorch can run, each still on its own lines."""
    parts = re.split(r"^(?=# %%)", source, flags=re.M)
    kept = [
        p if 'tags=["package"]' not in p.split("\n")[0] else "\n" * p.count("\n") for p in parts
    ]
    return "".join(kept)


def with_torch(source: str) -> str:
    """The same program with PyTorch's imports, and nothing else changed."""
    source = re.sub(r"^import tinygrad_llm as torch$", "import torch", source, flags=re.M)
    source = re.sub(r"^from tinygrad_llm import nn$", "from torch import nn", source, flags=re.M)
    return re.sub(rf"^(import|from) tinygrad_llm\.({NAMES})\b", r"\1 torch.\2", source, flags=re.M)


def printed(source: str, file: Path) -> str:
    out = io.StringIO()
    with contextlib.redirect_stdout(out):
        exec(compile(source, str(file), "exec"), {"__name__": "__main__"})
    return out.getvalue()


@pytest.mark.slow
@pytest.mark.ci
@pytest.mark.parametrize(
    "lesson", FILES, ids=lambda p: p.relative_to(LESSONS).with_suffix("").as_posix()
)
def test_a_lesson_prints_what_pytorch_prints(lesson, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", [str(lesson)])
    source = cells(lesson.read_text(encoding="utf-8"))
    changed = with_torch(source)
    assert changed != source
    assert re.search(r"\btorch\.\w+\(", changed), "nothing is left to compare"
    ours, theirs = printed(source, lesson), printed(changed, lesson)
    assert NUMBER.sub("#", ours) == NUMBER.sub("#", theirs)
    for a, b in zip(NUMBER.findall(ours), NUMBER.findall(theirs), strict=True):
        within = max(2e-3 * abs(float(b)) + 2e-4, 1.01 * last_digit(b))
        assert float(a) == float(b) or abs(float(a) - float(b)) <= within, (a, b)


def last_digit(number: str) -> float:
    """What one more in a printed number's last digit after the point is; 0 for a whole number.

    A result that is rounded to few digits may round to the next one on another processor.
    """
    digits, _, exponent = number.lower().partition("e")
    decimals = len(digits.partition(".")[2])
    return 10.0 ** (int(exponent or 0) - decimals) if decimals else 0.0


def test_the_last_digit_of_a_number():
    digits = [last_digit(n) for n in ("0.35", "-2.5e-3", "7", "1e5", "3.")]
    np.testing.assert_allclose(digits, [0.01, 1e-4, 0, 0, 0])


def test_only_the_imports_are_changed_and_only_tagged_cells_left_out():
    source = (
        "import tinygrad_llm as torch\nimport tinygrad_llm.nn.functional as F\n"
        "from tinygrad_llm import nn\nfrom tinygrad_llm.utils.data import DataLoader\n"
        "from tinygrad_llm.text import CharTokenizer\n"
        '# %% tags=["package"]\nx = 1\n# %%\ny = 2\n'
    )
    assert with_torch(cells(source)) == (
        "import torch\nimport torch.nn.functional as F\n"
        "from torch import nn\nfrom torch.utils.data import DataLoader\n"
        "from tinygrad_llm.text import CharTokenizer\n"
        "\n\n# %%\ny = 2\n"
    )
