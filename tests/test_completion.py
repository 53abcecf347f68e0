"""Completion in a shell: the script that is shown works, and completes commands and options."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys

import pytest
from typer.testing import CliRunner

from tinygrad_llm.cli import app

ASK = "import sys; sys.argv[:] = ['tinygrad-llm']; from tinygrad_llm.cli import main; main()"


@pytest.fixture
def script(monkeypatch):
    """What --show-completion prints in a shell."""
    shellingham = pytest.importorskip("shellingham")  # typer asks it which shell this is

    def shown(shell):
        monkeypatch.setattr(shellingham, "detect_shell", lambda *_: (shell, f"/bin/{shell}"))
        done = CliRunner().invoke(app, ["--show-completion"], prog_name="tinygrad-llm")
        assert done.exit_code == 0
        return done.output

    return shown


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_a_script_for_every_shell(shell, script):
    assert f"_COMPLETE=complete_{shell}" in script(shell)


@pytest.mark.skipif(shutil.which("bash") is None, reason="bash is not installed")
@pytest.mark.parametrize(
    ("line", "expected"),
    [("tinygrad-llm ser", ["serve"]), ("tinygrad-llm pretrain --sample-e", ["--sample-every"])],
)
def test_bash_completes(line, expected, tmp_path, script):
    program = tmp_path / "tinygrad-llm"
    program.write_text(f'#!/bin/sh\nexec {sys.executable} -c "{ASK}"\n')
    program.chmod(0o755)
    shown = script("bash")
    name = shown.rsplit("-F ", 1)[1].split()[0]
    words = line.split()
    typed = (
        f"{shown}\nCOMP_WORDS=({line}); COMP_CWORD={len(words) - 1}; {name} tinygrad-llm\n"
        'printf "%s\\n" "${COMPREPLY[@]}"\n'
    )
    done = subprocess.run(
        ["bash", "-c", typed], capture_output=True, text=True, timeout=60,
        env={**os.environ, "PATH": f"{tmp_path}:{os.environ['PATH']}"},
    )  # fmt: skip
    assert done.stdout.split() == expected, (shown, done.stderr)
