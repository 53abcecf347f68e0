"""Other systems, imitated: Windows, musl, a browser, old encodings; and the table of support."""

from __future__ import annotations

import errno
import os
import re
import subprocess
import sys
import sysconfig
import types
import warnings
from pathlib import Path

import pytest

import tinygrad_llm as torch
from tinygrad_llm.arrays import allocator, parallel
from tinygrad_llm.files import atomic

ROOT = Path(__file__).resolve().parent.parent


# ----------------------------------------------------------------------------------- Windows
def busy(times, calls):
    """os.replace of Windows while somebody has the file open, `times` times."""
    real = os.replace

    def replace(source, target):
        calls.append(target)
        if len(calls) <= times:
            raise PermissionError(errno.EACCES, "Access is denied", str(target))
        return real(source, target)

    return replace


def test_a_file_that_is_open_for_a_moment_is_replaced(tmp_path, monkeypatch):
    calls = []
    monkeypatch.setattr(sys, "platform", "win32")
    monkeypatch.setattr(atomic, "_PAUSES", (0.0, 0.0, 0.0))
    monkeypatch.setattr(os, "replace", busy(2, calls))
    with atomic.atomic_write(tmp_path / "x") as file:
        file.write(b"new")
    assert len(calls) == 3 and (tmp_path / "x").read_bytes() == b"new"


@pytest.mark.parametrize(("platform", "attempts"), [("win32", 3), ("linux", 1), ("darwin", 1)])
def test_a_file_that_stays_mapped_is_named(tmp_path, monkeypatch, platform, attempts):
    calls = []
    (tmp_path / "x").write_bytes(b"old")
    monkeypatch.setattr(sys, "platform", platform)
    monkeypatch.setattr(atomic, "_PAUSES", (0.0, 0.0))
    monkeypatch.setattr(os, "replace", busy(9, calls))
    with pytest.raises(PermissionError) as error, atomic.atomic_write(tmp_path / "x") as file:
        file.write(b"new")
    assert len(calls) == attempts and str(tmp_path / "x") in str(error.value)
    assert ("Windows does not" in str(error.value)) is (platform == "win32")
    assert [p.name for p in tmp_path.iterdir()] == ["x"]
    assert (tmp_path / "x").read_bytes() == b"old"


WITHOUT_UNIX = """
import os, signal, sys
for name in ("fcntl", "resource", "termios", "pwd", "grp"):
    sys.modules[name] = None
for name in ("fork", "killpg", "setsid", "getuid", "sched_getaffinity", "getloadavg", "sysconf",
             "nice", "getpgid"):
    if hasattr(os, name):
        delattr(os, name)
for name in ("SIGHUP", "SIGKILL", "SIGALRM", "SIGUSR1", "pthread_sigmask"):
    if hasattr(signal, name):
        delattr(signal, name)
import tinygrad_llm as torch
from tinygrad_llm import models, training
from tinygrad_llm.data import corpora
from tinygrad_llm.study import doctor
from tinygrad_llm.study.doctor import machine
folder = sys.argv[1]
model = models.GPT(models.GPTConfig(vocab_size=9, context_length=4, emb_dim=4, n_heads=2,
                                    n_layers=1, drop_rate=0.0))
ids = torch.randint(0, 9, (2, 4))
loss = model.loss(ids, ids)
loss.backward()
torch.optim.AdamW(model.parameters(), lr=0.1).step()
torch.save(model.state_dict(), folder + "/w.pth")
model.load_state_dict(torch.load(folder + "/w.pth"))
print(len(machine.look_at_machine()), torch.get_num_threads())
from tinygrad_llm.training.guard import FolderLock
from pathlib import Path
with FolderLock(Path(folder)):
    pass
"""


def test_nothing_needs_the_names_that_windows_lacks(tmp_path):
    child = subprocess.run(
        [sys.executable, "-c", WITHOUT_UNIX, str(tmp_path)], capture_output=True, text=True
    )
    assert child.returncode == 0, child.stderr


# ------------------------------------------------------------------------------------ encodings
def child(code, *options, **environment):
    env = {**os.environ, "PYTHONPATH": str(ROOT), "LC_ALL": "C", **environment}
    env.pop("PYTHONUTF8", None)
    return subprocess.run([sys.executable, *options, "-c", code], capture_output=True, env=env)


def test_files_are_opened_with_an_encoding():
    """Python warns where a file is opened in the system's own encoding."""
    code = (
        "import tinygrad_llm as t\n"
        "from tinygrad_llm.data import corpora\n"
        "from tinygrad_llm.study import exercises, explain\n"
        "from tinygrad_llm import models, text, training, finetune\n"
        "corpora.load(); explain('layer_norm').text()\n"
        "exercises.exercise('layer_norm').template()"
    )
    result = child(
        code, "-X", "warn_default_encoding", "-W", "error::EncodingWarning", "-X", "utf8=0"
    )
    assert result.returncode == 0, result.stderr.decode()


def test_files_hold_utf8_where_the_system_writes_cp1252(tmp_path):
    code = (
        "import sys; from pathlib import Path\n"
        "from tinygrad_llm.data import corpora\n"
        "from tinygrad_llm.text import CharTokenizer\n"
        f"folder = Path({str(tmp_path)!r})\n"
        "text = corpora.load(folder / 'ü.txt').text\n"
        "CharTokenizer.train(text).save(folder / 't.json')\n"
        "assert text == 'ŵ ∂ 雪\\n', ascii(text)"
    )
    (tmp_path / "ü.txt").write_bytes("ŵ ∂ 雪\n".encode())
    result = child(code, "-X", "utf8=0", PYTHONIOENCODING="cp1252")
    if b"surrogate" in result.stderr or b"ascii" in result.stderr.splitlines()[-1:]:
        pytest.skip("file names of this system are ASCII")
    assert result.returncode == 0, result.stderr.decode()
    assert "雪" in (tmp_path / "t.json").read_bytes().decode("utf-8")


# ------------------------------------------------------------------------------------ a browser
@pytest.mark.parametrize("platform", ["emscripten", "wasi"])
def test_no_threads_in_a_browser(monkeypatch, platform):
    monkeypatch.setattr(sys, "platform", platform)
    monkeypatch.setattr(parallel, "_threads", 0)
    assert parallel.core_count() == 1 and parallel.thread_count() == 1
    torch.set_num_threads(4)
    assert torch.get_num_threads() == 1
    a = torch.randn(600, 600)
    assert torch.allclose((a + a).sum(), 2 * a.sum(), rtol=1e-3, atol=1e-2)


def test_a_c_library_without_mallopt(monkeypatch):
    """musl's, and none at all."""
    for library in (object(), None):

        def load(name, library=library):
            if library is None:
                raise OSError("no such library")
            return library

        monkeypatch.setattr(allocator.ctypes, "CDLL", load)
        assert allocator.keep_memory.__wrapped__() is False
    for platform in ("win32", "darwin", "emscripten"):
        monkeypatch.setattr(sys, "platform", platform)
        monkeypatch.setattr(allocator.ctypes, "CDLL", lambda name: 1 / 0)
        assert allocator.keep_memory.__wrapped__() is False


@pytest.mark.skipif(
    not sysconfig.get_config_var("Py_GIL_DISABLED"), reason="this Python is not free-threaded"
)
def test_free_threaded_python_keeps_its_lock_off():
    assert not sys._is_gil_enabled()


# ---------------------------------------------------------------------------- the table of support
def table(name="README.md"):
    """Row -> its three cells: tested, expected to work, refused."""
    text = (ROOT / name).read_text(encoding="utf-8")
    rows = re.findall(r"^\| (Python|NumPy|Linux|Windows|macOS|Pyodide) \|(.*)\|$", text, re.M)
    return {row: [cell.strip() for cell in cells.split(" | ")] for row, cells in rows}


def versions(text, pattern=r"\b3\.\d\dt?"):
    return set(re.findall(pattern, text))


def project():
    """The table [project] of pyproject.toml."""
    toml = pytest.importorskip("tomllib" if sys.version_info >= (3, 11) else "tomli")
    return toml.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))


MATRIX = (ROOT / ".github" / "workflows" / "tests.yml").read_text(encoding="utf-8")


def test_both_readmes_have_the_same_rows():
    tables = [table(name) for name in ("README.md", "README.ja.md")]
    assert list(tables[0]) == list(tables[1])
    assert list(tables[0]) == ["Python", "NumPy", "Linux", "Windows", "macOS", "Pyodide"]
    for row in ("Python", "NumPy"):
        for ours, theirs in zip(tables[0][row], tables[1][row], strict=True):
            assert versions(ours, r"\d\.\d+t?") == versions(theirs, r"\d\.\d+t?"), row


def test_the_versions_of_python_are_the_same_everywhere():
    tested, expected, refused = table()["Python"]
    promised = versions(tested) | versions(expected)
    declared = project()
    lowest = re.fullmatch(r">=(3\.\d+)", declared["project"]["requires-python"])[1]
    assert versions(refused) == {lowest}
    assert min(promised, key=lambda v: int(v[2:].rstrip("t"))) == lowest
    listed = {c.rpartition(" ")[2] for c in declared["project"]["classifiers"]
              if re.search(r"Python :: 3\.\d+$", c)}  # fmt: skip
    assert listed == {v for v in promised if not v.endswith("t")}
    runs = set(re.findall(r'"(3\.\d+t?)(?:-dev)?"', MATRIX))
    assert runs >= promised - {"3.13t"} and runs <= promised  # one free-threaded version is enough
    assert declared["tool"]["mypy"]["python_version"] == lowest
    assert declared["tool"]["ruff"]["target-version"] == "py" + lowest.replace(".", "")


def test_the_versions_of_numpy_are_the_same_everywhere():
    tested, expected, refused = table()["NumPy"]
    promised = versions(tested + expected, r"\b2\.\d")
    needed = [r for r in project()["project"]["dependencies"] if r.startswith("numpy")]
    assert needed == [f"numpy>={min(promised)}"] and refused.startswith("1.x")
    pins = set(re.findall(r"numpy==(2\.\d)\.\*", MATRIX))
    assert min(promised) in pins and pins <= promised
    assert 'numpy: ["numpy"]' in MATRIX  # and the newest


def test_the_systems_are_the_same_everywhere():
    for row, word in {"Linux": "ubuntu-latest", "Windows": "windows-latest",
                      "macOS": "macos-latest", "Pyodide": "pyodide"}.items():  # fmt: skip
        assert word in MATRIX and any(table()[row][:2]), row
    assert "musl" in table()["Linux"][1] and "alpine" in MATRIX
    named = {word for word in re.findall(r"tests/\S+\.py", MATRIX)}
    assert named and all((ROOT / name).is_file() for name in named)


MACHINES = {"x86_64": True, "AMD64": True, "aarch64": True, "arm64": True, "i686": False,
            "wasm32": False, "riscv64": False}  # fmt: skip


def test_numba_is_asked_for_where_it_has_wheels_only():
    markers = pytest.importorskip("packaging.requirements")
    (numba,) = project()["project"]["optional-dependencies"]["fast"]
    marker = markers.Requirement(numba).marker
    for machine, has in MACHINES.items():
        for version in ("3.10", "3.11", "3.14", "3.15"):
            there = {"platform_machine": machine, "python_version": version,
                     "platform_python_implementation": "CPython"}  # fmt: skip
            assert marker.evaluate(there) is (has and version != "3.15"), (machine, version)
            assert not marker.evaluate({**there, "platform_python_implementation": "PyPy"})


def locked():
    """Name -> (version, hashes) of requirements.lock."""
    text = (ROOT / "requirements.lock").read_text(encoding="utf-8")
    entries = re.findall(
        r"^([\w.-]+)==(\S+)((?:\s*\\\n\s+--hash=sha256:[0-9a-f]{64})+)$", text, re.M
    )
    assert len(entries) == len(re.findall(r"^[\w.-]+==", text, re.M)), "each has hashes"
    return {name.lower(): (version, hashes) for name, version, hashes in entries}


def test_the_lock_holds_what_ci_installs():
    """All that the extras name, in a version that they take; PyTorch is the machine's own build."""
    packaging = pytest.importorskip("packaging.requirements")
    run, lock = ((ROOT / ".ci" / name).read_text(encoding="utf-8") for name in ("run", "lock"))
    extras = re.search(r"-e '\.\[([\w,]+)\]'", run)[1].split(",")
    assert re.findall(r"--extra (\w+)", lock) == extras and "--python-version 3.11" in lock
    declared = project()["project"]
    needed = [*declared["dependencies"], *project()["build-system"]["requires"]]
    needed += [r for extra in extras for r in declared["optional-dependencies"][extra]]
    here = {"python_version": "3.11", "python_full_version": "3.11.0", "platform_machine": "x86_64",
            "sys_platform": "linux", "platform_python_implementation": "CPython"}  # fmt: skip
    versions_locked = locked()
    for requirement in map(packaging.Requirement, needed):
        if requirement.marker is not None and not requirement.marker.evaluate(here):
            continue
        name = requirement.name.lower().replace("_", "-")
        if name == "torch":
            assert f"torch=={versions_of_torch(run)}" in needed and name not in versions_locked
            continue
        assert name in versions_locked, f"requirements.lock lacks {name}: run .ci/lock"
        assert requirement.specifier.contains(versions_locked[name][0]), name


def versions_of_torch(run):
    return re.search(r"pip_install torch==(\S+)", run)[1]


def test_each_locked_package_has_what_it_needs():
    """Of those that are installed here in the locked version: their dependencies are locked too."""
    packaging = pytest.importorskip("packaging.requirements")
    from importlib import metadata

    names = {name.replace("_", "-").replace(".", "-") for name in locked()}
    looked_at = 0
    for name, (version, _) in locked().items():
        try:
            if metadata.version(name) != version:
                continue
        except metadata.PackageNotFoundError:
            continue
        looked_at += 1
        for requirement in map(packaging.Requirement, metadata.requires(name) or []):
            if requirement.marker is None or requirement.marker.evaluate({"extra": ""}):
                needed = requirement.name.lower().replace("_", "-").replace(".", "-")
                assert needed in names | {"torch"}, f"{name} needs {needed}: run .ci/lock"
    if os.environ.get("TINYGRAD_LLM_REQUIRE_PARITY"):
        assert looked_at or sys.version_info[:2] != (3, 11)


# ------------------------------------------------------------- the threads of matrix products
def blas_threads():
    from tinygrad_llm.arrays import blas

    return blas._controls()[0]()


@pytest.fixture
def as_before():
    before = torch.get_num_threads()
    yield
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.set_num_threads(before)


def test_openblas_is_set_with_and_without_threadpoolctl(monkeypatch, as_before):
    from tinygrad_llm.arrays import blas

    if not blas.can_hold():
        pytest.skip("NumPy does not run on its own OpenBLAS here")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        torch.set_num_threads(1)
        assert blas_threads() == 1 == torch.get_num_threads()
        monkeypatch.setitem(sys.modules, "threadpoolctl", None)
        torch.set_num_threads(2)
        assert torch.get_num_threads() == 2
        if parallel.core_count() > 1:
            assert blas_threads() == 2
        with blas.one_thread:  # an op that holds it to one thread: the number comes afterwards
            torch.set_num_threads(1)
            assert blas_threads() == 1
        assert blas_threads() == 1


@pytest.mark.parametrize("installed", [True, False])
def test_a_library_that_cannot_be_set_is_named(installed, monkeypatch, as_before):
    """As with Apple's Accelerate, of which threadpoolctl knows nothing."""
    from tinygrad_llm.arrays import blas

    class Nothing:
        def select(self, **_):
            return []

    stand_in = types.SimpleNamespace(ThreadpoolController=Nothing) if installed else None
    monkeypatch.setitem(sys.modules, "threadpoolctl", stand_in)
    monkeypatch.setattr(blas, "_controls", lambda: None)
    with pytest.warns(UserWarning, match="VECLIB_MAXIMUM_THREADS"):
        torch.set_num_threads(parallel.core_count() + 1)
    assert torch.get_num_threads() == parallel.core_count() + 1
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        torch.set_num_threads(parallel.core_count())  # as many as it takes anyway
