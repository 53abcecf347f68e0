"""A real preparation by two processes, killed at random moments, ends as if nothing had happened.

The kill takes the whole process group, so the processes that it started end at the same moment.
"""

import os
import random
import shutil
import signal
import subprocess
import sys
import time

import pytest
from test_preparation import bytes_of, text_of

if sys.platform == "win32":
    pytest.skip("kill -9 is a matter of POSIX", allow_module_level=True)

# The units are made small, so that there are many files to be killed in.
_PROGRAM = """
import sys
from tinygrad_llm.data.preparation import sources
from tinygrad_llm.data.preparation.run import Preparation
from tinygrad_llm.data.preparation.settings import Settings

sources._SMALLEST = 20000
if __name__ == "__main__":
    settings = Settings(repair=False, vocab_size=300)
    Preparation(sys.argv[1], sys.argv[2], settings).run(int(sys.argv[3]))
"""


def command(program, folder, out, processes):
    return [sys.executable, *map(str, (program, folder, out, processes))]


def finish(arguments):
    done = subprocess.run(arguments, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stdout + done.stderr


def killed_when(arguments, out, more):
    """Start the program, and kill it when there are so many more files; False if it ended first."""
    until = time.monotonic() + 60
    target = files_in(out) + more
    process = subprocess.Popen(arguments, start_new_session=True)
    while process.poll() is None and time.monotonic() < until:
        if files_in(out) >= target:
            os.killpg(process.pid, signal.SIGKILL)
            break
        time.sleep(0.002)
    return process.wait() != 0


def files_in(folder):
    return sum(len(names) for _, _, names in os.walk(folder))


def kill_and_compare(tmp_path, kills, seed):
    folder, program = tmp_path / "texts", tmp_path / "program.py"
    folder.mkdir()
    program.write_text(_PROGRAM)
    for i in range(80):
        (folder / f"{i:03}.txt").write_text(text_of(i % 70, 600))
    whole, cut = tmp_path / "whole", tmp_path / "cut"
    finish(command(program, folder, whole, 1))
    draw, killed, ended = random.Random(seed), 0, 0
    while killed < kills:
        if killed_when(command(program, folder, cut, 2), cut, draw.randrange(1, 12)):
            killed += 1
        else:
            ended += 1
        if (cut / "manifest.json").exists():  # begin again
            if (cut / "work").exists():
                shutil.rmtree(cut / "work")
            assert bytes_of(cut) == bytes_of(whole), f"seed {seed}"
            shutil.rmtree(cut)
    if not (cut / "manifest.json").exists():
        finish(command(program, folder, cut, 2))
    assert bytes_of(cut) == bytes_of(whole), f"seed {seed}"
    print(f"{killed} kills, {ended} runs ended before theirs, seed {seed}")


@pytest.mark.slow
@pytest.mark.parametrize("kills", [pytest.param(4, marks=pytest.mark.ci), 20])
def test_killed_at_random_moments(tmp_path, kills):
    kill_and_compare(tmp_path, kills, seed=random.randrange(10**6))


@pytest.mark.slow
def test_the_benchmark_of_kills(tmp_path, capsys):
    from benchmarks.prepare_kills import main

    for i in range(30):
        (tmp_path / f"{i:03}.txt").write_text(text_of(i % 25, 400))
    result = main([str(tmp_path), "--kills", "3", "--longest", "2", "--tokenizer", "char"])
    assert result["kills"] == 3 and result["same"] == [True, True] and len(result["files"]) >= 5
    assert "after 3 kills" in capsys.readouterr().out
