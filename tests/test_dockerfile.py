"""The Dockerfile, followed step by step without building an image: COPY, RUN, ENTRYPOINT, CMD."""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path

import pytest
from test_first_hour import fetch_builder, tracked_files
from typer.testing import CliRunner

from tinygrad_llm.cli import app

ROOT = Path(__file__).parent.parent
FILE = ROOT / "Dockerfile"
PROJECT = (ROOT / "pyproject.toml").read_text("utf-8")


def steps() -> list[tuple[str, str]]:
    """(instruction, arguments) of each line."""
    lines = [line for line in FILE.read_text("utf-8").splitlines() if line.strip()]
    return [tuple(line.split(None, 1)) for line in lines if not line.startswith("#")]  # type: ignore[misc]


def only(name: str) -> str:
    """The arguments of the one step with this instruction."""
    (arguments,) = [own for step, own in steps() if step == name]
    return arguments


def copies() -> list[tuple[list[str], str]]:
    """(sources, target) of every COPY."""
    words = [arguments.split() for step, arguments in steps() if step == "COPY"]
    return [(some[:-1], some[-1]) for some in words]


def test_its_parts_are_there():
    version = tuple(map(int, re.search(r"python:(\d+)\.(\d+)-slim$", only("FROM")).groups()))
    least = tuple(map(int, re.search(r'requires-python = ">=(\d+)\.(\d+)"', PROJECT).groups()))
    assert version >= least
    program = json.loads(only("ENTRYPOINT"))[0]
    assert re.search(rf'^{program} = "tinygrad_llm\.cli:main"', PROJECT, re.M)
    installed = next(a for step, a in steps() if step == "RUN" and "pip install" in a)
    for extra in re.search(r'"\.\[(.*?)\]"', installed)[1].split(","):
        assert re.search(rf"^{extra} = \[", PROJECT, re.M), extra
    user = next(i for i, (step, _) in enumerate(steps()) if step == "USER")
    assert only("USER") not in ("root", "0")
    assert all(step != "RUN" for step, _ in steps()[user:])  # nothing needs root after that


def test_what_is_copied_is_in_the_repository_and_travels_to_the_builder():
    tracked = tracked_files()
    if not tracked:
        pytest.skip("this is not a git repository")
    ignored = (ROOT / ".dockerignore").read_text("utf-8").splitlines()
    assert "*" in ignored
    for sources, _ in copies():
        for source in sources:
            assert any(name == source or name.startswith(f"{source}/") for name in tracked), source
            assert f"!{source}" in ignored
    needed = [
        "pyproject.toml",
        *re.findall(r'(?:readme = |license-files = \[|path = )"(.*?)"', PROJECT),
    ]
    assert set(needed) <= {source for sources, _ in copies() for source in sources}


def test_the_commands_in_its_head_parse():
    """What stands after the image's name is a command of the program."""
    head = [line for line in FILE.read_text("utf-8").splitlines() if line.startswith("#   docker")]
    runs = [shlex.split(line.split("   trains")[0])[1:] for line in head if " run " in line]
    assert len(runs) == 3
    for words in runs:
        command = words[words.index("tinygrad_llm") + 1 :] or json.loads(only("CMD"))
        done = CliRunner().invoke(app, [*command, "--help"])
        assert done.exit_code == 0, done.output


@pytest.mark.slow
def test_its_steps_end_in_a_trained_model(tmp_path):
    """In folders below tmp_path in place of /: an environment by pip, then ENTRYPOINT and CMD."""

    def place(path: str) -> Path:
        return tmp_path / path.lstrip("/")

    fetch_builder(tmp_path / "wheels")
    environment = {**os.environ, "PIP_NO_INDEX": "1", "PIP_FIND_LINKS": str(tmp_path / "wheels")}
    environment.pop("PYTHONPATH", None)
    version = f"python{sys.version_info[0]}.{sys.version_info[1]}"
    subprocess.run([sys.executable, "-m", "venv", tmp_path / "venv"], check=True)
    site = tmp_path / "venv" / "lib" / version / "site-packages"
    packages = sysconfig.get_paths()["purelib"]
    (site / "of-the-running-environment.pth").write_text(f"{packages}\n")
    folder = tmp_path
    for step, arguments in steps():
        if step == "WORKDIR":
            folder = place(arguments)
            folder.mkdir(parents=True, exist_ok=True)
        elif step == "COPY":
            *sources, target = arguments.split()
            for source in sources:
                for name in tracked_files():
                    if name == source or name.startswith(f"{source}/"):
                        inside = name.removeprefix(f"{source}/") if name != source else name
                        file = folder / target / inside
                        file.parent.mkdir(parents=True, exist_ok=True)
                        shutil.copy(ROOT / name, file)
        elif step == "RUN" and "pip install" in arguments:
            words = shlex.split(arguments)
            words[0] = str(tmp_path / "venv" / "bin" / words[0])
            subprocess.run(words, cwd=folder, env=environment, check=True, timeout=240)
        elif step == "RUN":
            place("/work/runs").mkdir(parents=True, exist_ok=True)  # useradd and chown need root
            assert arguments.startswith("useradd ") and "mkdir -p /work/runs" in arguments
        elif step == "ENV":
            for word in arguments.split():
                name, value = word.split("=", 1)
                environment[name] = str(place(value)) if value.startswith("/") else value
    words = [*json.loads(only("ENTRYPOINT")), *json.loads(only("CMD"))]
    words[0] = str(tmp_path / "venv" / "bin" / words[0])
    done = subprocess.run(
        [*words, "--steps", "6", "--sample-tokens", "5"], cwd=folder, env=environment,
        capture_output=True, text=True, timeout=240,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-2000:]
    assert list(folder.glob("runs/*/checkpoints/step-*/manifest.json"))
