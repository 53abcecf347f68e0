"""A real preparation by two processes, killed at random moments, ends as if nothing had happened.

The kill takes the whole process group, so the processes that it started end at the same moment.
"""

import os
import random
import signal
import subprocess
import sys
import time

import pytest
from test_preparation import bytes_of, text_of

if sys.platform == "win32":
    pytest.skip("kill -9 is a matter of POSIX", allow_module_level=True)

# The units are made small, so that there are many files to be killed in.
_COMMAND = """
import sys
from tinygrad_llm.data.preparation import sources
sources._SMALLEST = 20000
from tinygrad_llm.cli import main
if __name__ == "__main__":
    main(["prepare", *sys.argv[1:]])
"""
OPTIONS = ("--no-repair", "--vocab-size", "400")


def command(script, folder, out, processes):
    return [sys.executable, str(script), str(folder), "--out", str(out), *OPTIONS,
            "--processes", str(processes)]  # fmt: skip


def finish(arguments):
    done = subprocess.run(arguments, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stdout + done.stderr


def kill_and_compare(tmp_path, kills, seed):
    folder, script = tmp_path / "texts", tmp_path / "command.py"
    folder.mkdir()
    script.write_text(_COMMAND)
    for i in range(120):
        (folder / f"{i:03}.txt").write_text(text_of(i % 110, 600))
    whole, cut = tmp_path / "whole", tmp_path / "cut"
    began = time.monotonic()
    finish(command(script, folder, whole, 1))
    seconds = time.monotonic() - began
    draw = random.Random(seed)
    killed = 0
    while killed < kills:
        process = subprocess.Popen(
            command(script, folder, cut, 2), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
            start_new_session=True,
        )  # fmt: skip
        try:
            process.wait(draw.uniform(0.2, 1.0) * seconds)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
            killed += 1
        if (cut / "manifest.json").exists():
            assert bytes_of(cut) == bytes_of(whole), f"seed {seed}"
            for path in sorted(cut.rglob("*"), reverse=True):
                path.rmdir() if path.is_dir() else path.unlink()
    if not (cut / "manifest.json").exists():
        finish(command(script, folder, cut, 2))
    assert bytes_of(cut) == bytes_of(whole), f"seed {seed}"
    assert not (cut / "work").exists()


@pytest.mark.slow
@pytest.mark.ci
def test_killed_twenty_times(tmp_path):
    kill_and_compare(tmp_path, kills=20, seed=random.randrange(10**6))
