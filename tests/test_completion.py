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


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_a_script_for_every_shell(shell):
    done = CliRunner().invoke(
        app, ["--show-completion", shell], env={"_TYPER_COMPLETE_TEST_DISABLE_SHELL_DETECTION": "1"}
    )
    assert done.exit_code == 0 and f"_COMPLETE=complete_{shell}" in done.output


@pytest.mark.skipif(shutil.which("bash") is None, reason="bash is not installed")
@pytest.mark.parametrize(
    ("line", "expected"),
    [("tinygrad-llm ser", ["serve"]), ("tinygrad-llm pretrain --sample-e", ["--sample-every"])],
)
def test_bash_completes(line, expected, tmp_path):
    program = tmp_path / "tinygrad-llm"
    program.write_text(f'#!/bin/sh\nexec {sys.executable} -c "{ASK}"\n')
    program.chmod(0o755)
    shown = CliRunner().invoke(
        app, ["--show-completion", "bash"], prog_name="tinygrad-llm",
        env={"_TYPER_COMPLETE_TEST_DISABLE_SHELL_DETECTION": "1"},
    ).output  # fmt: skip
    name = shown.rsplit("-F ", 1)[1].split()[0]
    words = line.split()
    script = (
        f"{shown}\nCOMP_WORDS=({line}); COMP_CWORD={len(words) - 1}; {name} tinygrad-llm\n"
        'printf "%s\\n" "${COMPREPLY[@]}"\n'
    )
    done = subprocess.run(
        ["bash", "-c", script], capture_output=True, text=True, timeout=60,
        env={**os.environ, "PATH": f"{tmp_path}:{os.environ['PATH']}"},
    )  # fmt: skip
    assert done.stdout.split() == expected, (shown, done.stderr)
