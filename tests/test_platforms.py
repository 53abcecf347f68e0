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
def test_the_table_is_in_both_readmes_and_the_matrix_runs_what_is_expected():
    tables = []
    for name in ("README.md", "README.ja.md"):
        text = (ROOT / name).read_text(encoding="utf-8")
        rows = re.findall(r"^\| (Python|NumPy|Linux|Windows|macOS|Pyodide)\b", text, re.M)
        assert {"Python", "NumPy", "Linux", "Windows", "macOS", "Pyodide"} <= set(rows), name
        tables.append(rows)
    assert tables[0] == tables[1]
    matrix = (ROOT / ".github" / "workflows" / "tests.yml").read_text(encoding="utf-8")
    for word in ("windows-latest", "macos-latest", "ubuntu-latest", '"3.10"', '"3.14"', '"3.14t"',
                 "alpine", "numpy==2.0.*", "pyodide"):  # fmt: skip
        assert word in matrix, word


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
