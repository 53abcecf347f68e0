"""Commands that are printed can be typed as they are: spelt as the program was called, quoted."""

from __future__ import annotations

import os
import shlex
import sys

import pytest

from tinygrad_llm.files import program
from tinygrad_llm.files.program import command_line


@pytest.fixture
def known(monkeypatch):
    """Which programs a shell finds, and what the program was called as."""

    def set_up(called: str, paths: dict[str, str] | None = None) -> None:
        monkeypatch.setattr(sys, "argv", [called])
        monkeypatch.setattr(program.shutil, "which", (paths or {}).get)

    return set_up


BARE, HERE = "tinygrad-llm", ".venv/bin/tinygrad-llm"
MODULE, PACKAGE = "/x/tinygrad_llm/cli/__main__.py", "/x/tinygrad_llm/__main__.py"
PYTHON = shlex.quote(sys.executable)


@pytest.mark.parametrize(
    ("called", "paths", "expected"),
    [
        ("/usr/bin/tinygrad-llm", {BARE: "/usr/bin/tinygrad-llm"}, BARE),
        (HERE, {}, HERE),
        (HERE, {BARE: "/usr/bin/tinygrad-llm"}, HERE),
        ("my env/bin/tinygrad-llm", {}, "'my env/bin/tinygrad-llm'"),
        (PACKAGE, {"python": sys.executable}, "python -m tinygrad_llm"),
        (MODULE, {"python3": sys.executable}, "python3 -m tinygrad_llm.cli"),
        (MODULE, {"python": "/another/python"}, f"{PYTHON} -m tinygrad_llm.cli"),
        ("/x/cli/pytest", {}, BARE),
        ("", {}, BARE),
    ],
)
def test_as_it_was_called(known, called, paths, expected):
    known(called, paths)
    assert command_line() == expected


@pytest.mark.parametrize(
    "word", ["runs/a", "my run", "it's", "$HOME", "a;b", "", "a\nb", "*", "é", "--x=1 2"]
)
def test_words_are_quoted(known, word):
    known("tinygrad-llm")
    line = command_line("pretrain", "--resume", word)
    assert shlex.split(line) == ["tinygrad-llm", "pretrain", "--resume", word]


def test_a_path_is_a_word(known, tmp_path):
    known("tinygrad-llm")
    assert shlex.split(command_line("generate", tmp_path))[-1] == os.fspath(tmp_path)
