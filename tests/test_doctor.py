"""tinygrad-llm doctor: what it finds, what it says to do, and that nothing stops it."""

from __future__ import annotations

import importlib.metadata
import json
import os
import subprocess
import sys
from types import SimpleNamespace

import pytest

from tinygrad_llm.cli import main
from tinygrad_llm.cli.doctor import text_of
from tinygrad_llm.data import corpora
from tinygrad_llm.distributed import mpi_library
from tinygrad_llm.files import downloads
from tinygrad_llm.study.doctor import SEVERITIES, Finding, Report, examine, machine, pieces
from tinygrad_llm.study.doctor import environment as variables
from tinygrad_llm.study.doctor import finding as findings

PLANTED = {"OPENBLAS_CORETYPE": "Nehalem", "OMP_NUM_THREADS": "1", "MALLOC_PERTURB_": "85"}
HARMLESS = {"OPENBLAS_NUM_THREADS": "4", "OMP_NUM_THREADS": "4", "MALLOC_ARENA_MAX": "2",
            "NUMPY_MADVISE_HUGEPAGE": "1", "MALLOC_MMAP_THRESHOLD_": "4294967296",
            "OPENBLAS_CORETYPE": "", "PYTHONHASHSEED": "0"}  # fmt: skip


def doctor(*options, env=None):
    """The command in a child process."""
    return subprocess.run(
        [sys.executable, "-m", "tinygrad_llm", "doctor", *options], capture_output=True, text=True,
        env={**os.environ, "PYTHONIOENCODING": "utf-8", **(env or {})}, timeout=300,
    )  # fmt: skip


@pytest.fixture(scope="module")
def planted():
    """A run with variables that slow NumPy."""
    return doctor("--json", env=PLANTED)


@pytest.fixture
def without_measuring(monkeypatch):
    """Without the processes that measure: what they would find."""
    rates = {True: (100.0, 4.0), False: (250.0, 3.0)}

    def measure(environment, *how):
        gflops, fresh = rates["OPENBLAS_CORETYPE" in environment]
        blas = {"library": "openblas", "version": "1", "kernel": "X", "threads": 4}
        return {"gflops": gflops, "right": True, "fresh_ms": fresh, "faults": 33, "blas": blas,
                "bandwidth": 10.0}  # fmt: skip

    monkeypatch.setattr(machine, "_measure", measure)
    monkeypatch.setattr(machine, "core_count", lambda: 4)
    return rates


# ---------------------------------------------------------------------------- the whole command
def test_json_has_its_schema(planted):
    report = json.loads(planted.stdout)
    assert report["format"] == 1 and report["worst"] in SEVERITIES
    assert set(report["counts"]) == set(SEVERITIES)
    assert sum(report["counts"].values()) == len(report["findings"])
    for f in report["findings"]:
        assert set(f) == {"area", "name", "severity", "text", "advice", "command", "facts"}
        assert f["severity"] in SEVERITIES and f["area"] and f["name"] and f["text"]
        assert isinstance(f["facts"], dict)
        assert f["severity"] == "ok" or f["advice"], f"{f['name']} says not what to do"
    names = [(f["area"], f["name"]) for f in report["findings"]]
    assert len(set(names)) == len(names)
    expected = "python numpy processor memory gpu mpi".split()
    expected += ["matrix products", "memory bandwidth", "gpt2 files", "data folder"]
    assert set(expected) <= {f["name"] for f in report["findings"]}


def test_planted_variables_are_detected_and_their_cost_measured(planted):
    by_name = {f["name"]: f for f in json.loads(planted.stdout)["findings"]}
    assert by_name["OPENBLAS_CORETYPE"]["severity"] == "slow"
    assert by_name["OPENBLAS_CORETYPE"]["command"] == variables.unset_command("OPENBLAS_CORETYPE")
    assert by_name["MALLOC_PERTURB_"]["severity"] == "slow"
    if (os.cpu_count() or 1) > 1 and machine.core_count() > 1:
        assert by_name["OMP_NUM_THREADS"]["severity"] == "slow"
    cost = by_name["cost of the variables"]
    assert {"OPENBLAS_CORETYPE", "MALLOC_PERTURB_"} <= set(cost["facts"]["names"])
    assert cost["facts"]["gflops"] > 0 and cost["facts"]["gflops_without"] > 0
    products = by_name["matrix products"]["facts"]
    if products["library"] == "openblas" and products["kernel"]:
        assert products["kernel"].lower() == "nehalem"


def test_the_text_says_what_to_do_without_colour_in_a_pipe():
    done = doctor(env={"OPENBLAS_CORETYPE": "Nehalem", "FORCE_COLOR": ""})
    assert "\x1b" not in done.stdout and done.stderr == ""
    assert "  slow   OPENBLAS_CORETYPE=Nehalem" in done.stdout
    if os.name != "nt":
        assert "$ unset OPENBLAS_CORETYPE" in done.stdout
    assert done.returncode in (0, 1)


# -------------------------------------------------------------------------------------- variables
@pytest.mark.parametrize(
    ("name", "value"),
    [("OPENBLAS_CORETYPE", "Haswell"), ("OPENBLAS_L2_SIZE", "512"), ("OMP_NUM_THREADS", "1"),
     ("MKL_NUM_THREADS", "2"), ("OPENBLAS_NUM_THREADS", "64"), ("NUMPY_MADVISE_HUGEPAGE", "0"),
     ("MALLOC_MMAP_THRESHOLD_", "65536"), ("MALLOC_TRIM_THRESHOLD_", "0"), ("MALLOC_CHECK_", "3"),
     ("PYTHONMALLOC", "debug"), ("OMP_PROC_BIND", "TRUE"), ("NPY_DISABLE_CPU_FEATURES", "AVX2"),
     ("CUDA_VISIBLE_DEVICES", ""), ("PYTHONTRACEMALLOC", "1"), ("OMP_NUM_THREADS", "many")],
)  # fmt: skip
def test_a_variable_that_harms_is_detected(name, value):
    (finding,) = variables.slowing({name: value, "PATH": "/bin"}, cores=4)
    assert finding.name == name and finding.effect and finding.advice and "{" not in finding.effect


def test_harmless_values_are_left_alone():
    assert variables.slowing(HARMLESS, cores=4) == []


def test_without_removes_only_the_variables():
    env = {"OMP_NUM_THREADS": "1", "PATH": "/bin"}
    assert variables.without(env, variables.slowing(env, 4)) == {"PATH": "/bin"}


def test_the_cost_is_reported(without_measuring):
    findings = {f.name: f for f in machine.look_at_speed({"OPENBLAS_CORETYPE": "Haswell"})}
    cost = findings["cost of the variables"]
    assert cost.severity == "slow" and cost.facts["products_times"] == 2.5
    assert "2.5 times as long" in cost.advice and "on one core" in cost.text
    assert findings["matrix products"].severity == "slow"
    without_measuring[False] = (101.0, 4.0)
    findings = {f.name: f for f in machine.look_at_speed({"OPENBLAS_CORETYPE": "Haswell"})}
    assert findings["cost of the variables"].severity == "note"
    assert findings["matrix products"].severity == "ok"
    assert [f.name for f in machine.look_at_speed({})][-1] == "variables"


def test_wrong_numbers_are_broken(without_measuring, monkeypatch):
    real = machine._measure
    monkeypatch.setattr(machine, "_measure", lambda *a: {**real(*a), "right": False})
    assert {f.name: f.severity for f in machine.look_at_speed({})}["right numbers"] == "broken"


@pytest.mark.parametrize(("setting", "severity"), [("never", "slow"), ("madvise", "slow")])
def test_huge_pages(tmp_path, monkeypatch, setting, severity):
    file = tmp_path / "enabled"
    file.write_text(
        " ".join(f"[{s}]" if s == setting else s for s in ("always", "madvise", "never"))
    )
    monkeypatch.setattr(machine, "_HUGE", file)
    (finding,) = machine.look_at_memory({"faults": 16385, "fresh_ms": 30.0})
    assert finding.severity == severity and "16,385 page faults" in finding.text
    assert ("sudo tee" in finding.command) == (setting == "never")
    (finding,) = machine.look_at_memory({"faults": 33, "fresh_ms": 4.0})
    assert finding.severity == "ok"


# ------------------------------------------------------------------------------- missing pieces
@pytest.fixture
def missing(monkeypatch):
    """Makes packages look as if they were not installed."""

    def hide(*names):
        for name in names:
            monkeypatch.setitem(sys.modules, name, None)

    return hide


def test_missing_packages_are_notes_with_a_command(missing):
    missing("matplotlib", "threadpoolctl", "tiktoken", "mpi4py", "cupy", "ml_dtypes", "rich")
    findings = {
        f.name: f
        for look in (pieces.look_at_packages, pieces.look_at_tokenizers, pieces.look_at_mpi)
        for f in look()
    }
    for name, package in (("matplotlib", "matplotlib"), ("threadpoolctl", "threadpoolctl"),
                          ("tiktoken", "tiktoken"), ("mpi", "mpi4py mpich")):  # fmt: skip
        assert findings[name].severity == "note" and findings[name].command.endswith(
            f"install {package}"
        )


def test_compiled_loops(monkeypatch):
    """Numba and its version, the reason why there are no loops, or who turned them off."""
    monkeypatch.setattr(type(pieces.loops), "is_available", lambda self: False)
    monkeypatch.setattr(pieces.large, "missing", "Numba 0.1 is too old")
    (finding,) = pieces.look_at_loops()
    assert finding.severity == "note" and "Numba 0.1 is too old" in finding.text
    monkeypatch.setattr(type(pieces.loops), "is_available", lambda self: True)
    monkeypatch.setattr(pieces, "version", lambda name: "0.68")
    for enabled, severity in ((True, "ok"), (False, "note")):
        monkeypatch.setattr(type(pieces.loops), "enabled", enabled)
        (finding,) = pieces.look_at_loops()
        assert finding.severity == severity and "Numba 0.68" in finding.text


def test_without_a_gpu_nothing_is_wrong(missing, monkeypatch):
    missing("cupy")
    monkeypatch.setattr(pieces, "driver", lambda: None)
    (finding,) = pieces.look_at_gpu()
    assert finding.severity == "note" and "not needed" in finding.advice and not finding.command


@pytest.mark.parametrize(("cuda", "wheel"), [(12, "cupy-cuda12x"), (13, "cupy-cuda13x")])
def test_a_gpu_without_cupy(missing, monkeypatch, cuda, wheel):
    missing("cupy")
    monkeypatch.setattr(pieces, "driver", lambda: ("NVIDIA X", cuda))
    (finding,) = pieces.look_at_gpu()
    assert finding.severity == "slow" and f"'{wheel}[ctk]'" in finding.command


@pytest.mark.parametrize(
    ("result", "card", "severity"),
    [((0, '{"why": "", "name": "X", "seconds": 1.5, "cupy": "14"}', ""), ("X", 12), "ok"),
     ((0, '{"why": "no kernel", "seconds": 1.5}', ""), ("X", 12), "broken"),
     ((0, '{"why": "no driver", "seconds": 0.1}', ""), None, "note"),
     ((-11, "", ""), ("X", 12), "broken"),
     ((None, "", "it had not ended after 90 seconds"), ("X", 12), "broken")],
)  # fmt: skip
def test_a_gpu_that_is_tried(monkeypatch, result, card, severity):
    monkeypatch.setattr(pieces, "installed", lambda name: True)
    monkeypatch.setattr(pieces, "driver", lambda: card)
    monkeypatch.setattr(pieces, "run_python", lambda *a, **k: result)
    (finding,) = pieces.look_at_gpu()
    assert finding.severity == severity


@pytest.mark.parametrize(
    ("result", "launcher", "severity"),
    [((0, "MPICH 5\n", ""), "/bin/mpiexec", "ok"), ((0, "MPICH 5\n", ""), None, "note"),
     ((1, "", "ImportError: libmpi.so"), None, "broken")],
)  # fmt: skip
def test_mpi(monkeypatch, result, launcher, severity):
    monkeypatch.setattr(pieces, "installed", lambda name: True)
    monkeypatch.setattr(pieces, "run_python", lambda *a, **k: result)
    monkeypatch.setattr(mpi_library, "find_mpiexec", lambda: launcher)
    (finding,) = pieces.look_at_mpi()
    assert finding.severity == severity and finding.facts["mpiexec"] == launcher


@pytest.mark.parametrize(
    ("facts", "severity", "text"),
    [({"why": "", "capability": 9, "version": 91900, "enabled": True}, "ok", "cuDNN 9.19.0 for"),
     ({"why": "", "capability": 9, "version": 92801, "enabled": False}, "note", "cuDNN 9.28.1 is"),
     ({"why": "cuDNN is not installed", "capability": 10}, "note", "cuDNN does not")],
)  # fmt: skip
def test_cudnn(monkeypatch, facts, severity, text):
    monkeypatch.setattr(pieces, "installed", lambda name: True)
    monkeypatch.setattr(pieces, "driver", lambda: ("X", 13))
    monkeypatch.setattr(pieces, "run_python", lambda *a, **k: (0, json.dumps(facts), ""))
    monkeypatch.setattr(pieces, "sys", SimpleNamespace(platform="linux"))
    (finding,) = pieces.look_at_cudnn()
    assert finding.severity == severity and finding.text.startswith(text)
    assert severity == "ok" or finding.advice and "CUDNN" in finding.command.upper()
    facts["capability"] = 8  # our own kernels are all there is
    assert pieces.look_at_cudnn() == []
    monkeypatch.setattr(pieces, "installed", lambda name: name != "cupy")
    assert pieces.look_at_cudnn() == []


@pytest.mark.parametrize(
    ("driver", "cupy", "platform", "command"),
    [(13, 12, "linux", "cudnn-cuda12"), (13, 13, "linux", "cudnn-cuda13"),
     (13, None, "linux", "cudnn-cuda13"), (12, None, "linux", "cudnn-cuda12"),
     (13, 13, "win32", "")],
)  # fmt: skip
def test_the_cudnn_that_fits_cupy(monkeypatch, driver, cupy, platform, command):
    """The driver of CUDA 13 runs CuPy for CUDA 12 too. On Windows the extra installs nothing."""
    facts = {"why": "cuDNN is for CUDA 13, and CuPy for CUDA 12", "capability": 9}
    facts.update({} if cupy is None else {"cuda": cupy})
    monkeypatch.setattr(pieces, "installed", lambda name: True)
    monkeypatch.setattr(pieces, "driver", lambda: ("X", driver))
    monkeypatch.setattr(pieces, "sys", SimpleNamespace(platform=platform))
    monkeypatch.setattr(pieces, "run_python", lambda *a, **k: (0, json.dumps(facts), ""))
    (finding,) = pieces.look_at_cudnn()
    assert command in finding.command and bool(finding.command) == bool(command)


@pytest.mark.parametrize(
    ("result", "severity", "text"),
    [((0, '{"why": "", "path": "/w/libnccl.so.2", "version": "2.28.9"}', ""), "ok",
      "NCCL 2.28.9, /w/libnccl.so.2, of the "),
     ((0, '{"why": "", "path": null, "version": "2.18.1"}', ""), "ok", "NCCL 2.18.1, of the "),
     ((0, '{"why": "NCCL is not installed", "path": null}', ""), "note", "no NCCL: GPUs"),
     ((0, '{"why": "libcudart.so.12", "path": "/w/libnccl.so.2"}', ""), "broken",
      "NCCL can't be loaded: libcudart.so.12"),
     ((None, "", "it had not ended"), "note", "no NCCL")],
)  # fmt: skip
def test_nccl(monkeypatch, result, severity, text):
    monkeypatch.setattr(pieces, "installed", lambda name: True)
    monkeypatch.setattr(pieces, "driver", lambda: ("X", 13))
    monkeypatch.setattr(pieces, "run_python", lambda *a, **k: result)
    (finding,) = pieces.look_at_nccl()
    assert finding.severity == severity and finding.text.startswith(text)
    assert severity == "ok" or finding.advice and "nvidia-nccl-cu1" in finding.command
    monkeypatch.setattr(pieces, "installed", lambda name: name != "cupy")
    assert pieces.look_at_nccl() == []


def test_nccl_of_the_stand_in():
    """The program that the doctor runs, with a library of version 2.28.9 in place of NCCL."""
    pytest.importorskip("ml_dtypes")
    begin = f"import sys; sys.path.insert(0, {os.path.dirname(__file__)!r})\n"
    install = "import nccl_stand_in; nccl_stand_in.install()\n"
    program = begin + install + pieces._TRY_NCCL
    code, out, errors = findings.run_python(["-c", program], timeout=60.0)
    facts = json.loads(out)
    assert code == 0 and facts["version"] == "2.28.9" and not facts["why"], errors


def test_the_data_folder(tmp_path, monkeypatch):
    monkeypatch.setenv(downloads.DATA_VARIABLE, str(tmp_path / "new"))
    findings = pieces.look_at_data()
    assert findings[0].severity == "ok" and "none yet" in findings[0].text
    monkeypatch.setenv(downloads.DATA_VARIABLE, str(tmp_path))
    (tmp_path / corpora.NAMED["the-verdict"].file_name).write_text("something else")
    findings = {f.name: f for f in pieces.look_at_data()}
    assert findings["data set the-verdict"].severity == "broken"
    assert (tmp_path / corpora.NAMED["the-verdict"].file_name).read_text() == "something else"


def test_what_fails_becomes_a_note(monkeypatch):
    def fails():
        raise OSError("no such device")

    monkeypatch.setattr(pieces, "look_at_gpu", fails)
    monkeypatch.setattr(machine, "_measure", lambda *a: (_ for _ in ()).throw(RuntimeError("no")))
    report = examine({})
    notes = {f.name: f for f in report.findings if "could not be examined" in f.text}
    assert set(notes) == {"gpu", "matrix products"} and "no such device" in notes["gpu"].text


def test_run_python_ends_what_does_not_end():
    code, _, errors = findings.run_python(["-c", "import time; time.sleep(60)"], timeout=0.2)
    assert code is None and "0.2 seconds" in errors


# ------------------------------------------------------------------------------ printing, exit code
REPORT = Report([Finding("Speed", "a", "slow", "text", "advice " * 30, "a command"),
                 Finding("Speed", "b", "ok", "fine")], 1.0)  # fmt: skip


def test_colours_only_where_asked():
    plain, colored = text_of(REPORT, 70, False), text_of(REPORT, 70, True)
    assert "\x1b" not in plain and "\x1b[33;1mslow  \x1b[0m" in colored
    assert all(len(line) <= 70 for line in plain.splitlines())
    assert "$ a command" in plain and "1 slow" in plain


@pytest.mark.parametrize(
    ("severity", "options", "code"),
    [("ok", [], 0), ("note", ["--strict"], 0), ("slow", [], 0), ("slow", ["--strict"], 1),
     ("broken", [], 1), ("broken", ["--json"], 1)],
)  # fmt: skip
def test_exit_codes(monkeypatch, capsys, severity, options, code):
    report = Report([Finding("A", "b", severity, "text", "advice")], 0.1)
    monkeypatch.setattr("tinygrad_llm.study.doctor.examine", lambda: report)
    with pytest.raises(SystemExit) as end:
        main(["doctor", *options])
    assert end.value.code == code and capsys.readouterr().out


@pytest.mark.parametrize(("there", "uv", "expected"), [
    ({"pip"}, None, "-m pip install cupy"), ({"pip"}, "/bin/uv", "-m pip install cupy"),
    ({"ensurepip"}, "/bin/uv", "uv pip install --python "),
    ({"ensurepip"}, None, "-m ensurepip && "),
    (set(), None, ""),
])  # fmt: skip
def test_what_is_recommended_is_there(monkeypatch, there, uv, expected):
    """An environment without pip is not sent to pip."""
    from tinygrad_llm.study.doctor import finding

    monkeypatch.setattr(finding, "installed", there.__contains__)
    monkeypatch.setattr(finding.shutil, "which", lambda name: uv)
    command = finding.pip_install("cupy")
    assert expected in command and bool(command) is bool(expected)


# -------------------------------------------------------------------------------- the packages
def test_packages_and_their_versions():
    from tinygrad_llm.study.doctor.packages import package_rows

    rows = package_rows([
        "numpy>=2.0", "numpy>=999", "a-package-that-nobody-wrote",
        'another-of-these>=1; extra == "ja"', 'numpy<1; extra == "old"',
        'numpy; python_version < "3" and extra == "ja"', 'tomli; python_version < "3"',
    ])  # fmt: skip
    assert [(row.name, row.extra, row.state) for row in rows] == [
        ("numpy", "", "OK"), ("numpy", "", "FAIL"), ("a-package-that-nobody-wrote", "", "FAIL"),
        ("another-of-these", "ja", "-"), ("numpy", "old", "FAIL"),
    ]  # fmt: skip
    assert rows[0].installed == importlib.metadata.version("numpy") and not rows[2].installed


def test_check_lists_every_extra(capsys):
    try:
        extras = importlib.metadata.metadata("tinygrad_llm").get_all("Provides-Extra")
    except importlib.metadata.PackageNotFoundError:
        pytest.skip("the package is used without having been installed")
    with pytest.raises(SystemExit):
        main(["doctor", "--check", "--json"])
    rows = json.loads(capsys.readouterr().out)
    assert rows[0]["name"] == "Python" and rows[0]["state"] == "OK"
    assert {row["extra"] for row in rows} == {"", *extras}
    with pytest.raises(SystemExit):
        main(["doctor", "--check"])
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == len(rows) and lines[0].startswith("OK")


def test_check_without_metadata(monkeypatch, capsys):
    def absent(name):
        raise importlib.metadata.PackageNotFoundError(name)

    monkeypatch.setattr(importlib.metadata, "metadata", absent)
    with pytest.raises(SystemExit, match="2"):
        main(["doctor", "--check"])
    assert "pip install ." in capsys.readouterr().err
