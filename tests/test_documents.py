"""README, CONTRIBUTING and the other pages: what they say about files, ops and lessons is true."""

from __future__ import annotations

import re
import subprocess
import sys
from collections import defaultdict
from pathlib import Path

import pytest

from tinygrad_llm import ops as ops_package
from tinygrad_llm.autograd.engine import OPS
from tinygrad_llm.models import registry

ROOT = Path(__file__).resolve().parent.parent
READMES = ("README.md", "README.ja.md")
FILES = [
    *ROOT.glob("*.*"),
    *(p for folder in ("tinygrad_llm", "lessons", "examples", "docs", "benchmarks", "tests", ".ci")
      for p in sorted((ROOT / folder).rglob("*")) if p.is_file()),
]  # fmt: skip
ENDS = {"/".join(path.parts[-n:]) for path in FILES for n in range(1, 6)}  # of their paths
TEXTS = [
    path
    for path in FILES
    if path.suffix in (".md", ".py", ".cu", ".cuh") and "docs" not in path.relative_to(ROOT).parts
]  # the site's own files name pages that exist when it is built; its build is strict
# File names that a text uses as an example, or that are elsewhere.
NOT_HERE = r"train\.py|.*CHAPTER/NN_NAME\.py|Lib/pickletools\.py|\.old\.py"


def read(name: str) -> str:
    return (ROOT / name).read_text(encoding="utf-8")


def blocks(text: str, language: str) -> list[str]:
    """The fenced blocks of a language."""
    fenced = re.findall(r"^```(\w*)\n(.*?)^```$", text, re.M | re.S)
    return [code for name, code in fenced if name == language]


@pytest.mark.parametrize("name", READMES)
def test_quick_start_is_one_block_of_two_lines(name):
    quick_start = re.split(r"^## ", read(name), flags=re.M)[1]
    (block,) = blocks(quick_start, "sh")
    assert len(block.splitlines()) == 2
    assert "tinygrad-llm pretrain" in block.splitlines()[0]
    assert "pytest" in block.splitlines()[1]


def test_both_readmes_have_the_same_code():
    for language in ("sh", "python", ""):
        assert blocks(read("README.md"), language) == blocks(read("README.ja.md"), language)


def test_the_op_that_is_shown_is_the_one_in_the_package():
    shown = blocks(read("README.md"), "python")[1]
    assert shown.startswith("class RmsNorm") and shown in read("tinygrad_llm/ops/norm.py")


def test_the_twelve_lines_print_what_they_say():
    code = blocks(read("README.md"), "python")[0]
    *lines, shown = code.strip().splitlines()
    assert len(lines) + 1 == 12
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    loss, rest = done.stdout.strip().split(" ", 1)
    assert shown == f"# {loss[:6]}... {rest}"


@pytest.mark.parametrize("name", READMES)
def test_the_table_of_ops(name):
    ops_package.load_all()
    ops = defaultdict(list)
    for op, cls in OPS.items():
        if cls.__module__.startswith("tinygrad_llm.ops."):
            ops[cls.__module__.rpartition(".")[2] + ".py"].append(op)
    rows = re.findall(r"^\| `(\w+\.py)` \| ([\w, ]+) \|$", read(name), re.M)
    assert {file: sorted(names.split(", ")) for file, names in rows} == {
        file: sorted(names) for file, names in ops.items()
    }


@pytest.mark.parametrize("name", READMES)
def test_the_table_of_models(name):
    """Each registered model has a row, or stands in the row of its file's other models."""
    table = re.findall(r"^\| `(\w+)` \| `(models/\w+\.py)` \| (.+) \|$", read(name), re.M)
    rows = {model: file for model, file, _ in table}
    text = " ".join(f"`{model}` {words}" for model, _, words in table)
    for family in registry.families():
        if not family.model.__module__.startswith("tinygrad_llm.models."):
            continue  # a test's own
        file = f"models/{family.model.__module__.rpartition('.')[2]}.py"
        assert file in rows.values(), file
        body = re.sub("For(MaskedLM|SequenceClassification|TokenClassification)$", "", family.name)
        assert rows.get(body) == file, family.name
        assert f"`{family.name}`" in text or "Classification" in family.name, family.name


@pytest.mark.parametrize("name", READMES)
def test_the_table_of_lessons(name):
    chapters = {path.parent.name for path in (ROOT / "lessons").glob("[0-9A-Z]*_*/*.py")}
    rows = re.findall(r"^\| `(\w+)` \| (\d+) \| [^|]+ \|$", read(name), re.M)
    assert [(chapter, int(n)) for chapter, n in rows] == [
        (chapter, len(list((ROOT / "lessons" / chapter).glob("*.py"))))
        for chapter in sorted(chapters)
    ]


def test_files_that_a_text_names_exist():
    missing = []
    for path in TEXTS:
        if path.parent.name == "tests" and path.suffix == ".py":
            continue  # tests write files, and name them
        text = path.read_text(encoding="utf-8")
        missing += [
            f"{path.relative_to(ROOT)}: {name}"
            for name in re.findall(r"(?<![\w./-])[\w./-]*\w\.(?:py|md|cu|cuh)\b", text)
            if name not in ENDS and not re.fullmatch(NOT_HERE, name)
        ]
    assert not missing, "\n".join(missing)


def test_links_of_pages_lead_somewhere():
    for path in TEXTS:
        if path.suffix == ".md":
            for link in re.findall(r"\]\(([^)#\s]+)\)", path.read_text(encoding="utf-8")):
                if "://" not in link:
                    assert (path.parent / link).exists(), f"{path.relative_to(ROOT)}: {link}"
