"""A new user's first hour: the README from top to bottom, on a bad day.

The commands are read out of README.md, in their order, and run as a shell runs them: without a
network, in a fresh virtual environment, by a user that the system does not know and that has no
HOME, while a process keeps every core busy, with the output in a file that is cp1252, as on
Windows. They must end well, print no traceback, print commands that can be pasted, and write
nothing outside of the clone and the folder for temporary files.

What differs from a user's machine, and why: pip cannot fetch packages without a network, so the
packages that this one needs are those of the environment that runs the test, made visible in the
fresh one by a .pth file; this package itself is built and installed by pip as the README says, with
a builder (hatchling) that was fetched before.
Trainings get a few steps instead of minutes, and of the test suite one file runs. The block about
GPUs is left out: it installs CuPy.
"""

from __future__ import annotations

import os
import re
import shlex
import shutil
import subprocess
import sys
import sysconfig
import tempfile
import time
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
USER = 54_321  # no user of a system that we know
PROGRAM = ".venv/bin/tinygrad-llm"
SHORT = {  # what a training gets in place of minutes
    "pretrain": ("--steps 6 --eval-every 6 --sample-tokens 5", r" --(minutes|steps) \S+"),
    "finetune classify": ("--steps 8", r" --(epochs|steps) \S+"),
    "finetune instruct": ("--steps 4 --answers 1 --answer-tokens 5", r" --(epochs|steps) \S+"),
    "finetune dpo": ("--steps 2 --answers 1 --answer-tokens 5", r" --(epochs|steps) \S+"),
}
MAY_FAIL = ("exercise check",)  # of an exercise that is not written yet
WRITTEN = {".venv", "runs", "exercises", "build", "tinygrad_llm.egg-info", ".pytest_cache"}

needs_root = pytest.mark.skipif(
    not hasattr(os, "geteuid") or os.geteuid() != 0 or shutil.which("setpriv") is None,
    reason="only root can run a program as a user that does not exist, with Linux's setpriv",
)


def as_unknown_user() -> list[str]:
    """The words before a command that is run as USER, who has no name, no groups and no HOME.

    Where the interpreter is in a folder that others cannot enter (root's home), the user may read
    everything; what it may write is in no case more than its own.
    """
    words = ["setpriv", f"--reuid={USER}", f"--regid={USER}", "--clear-groups"]
    packages = sysconfig.get_paths()["purelib"]
    places = [Path(os.path.realpath(p)) for p in (sys.executable, packages, ROOT)]
    if all(p.stat().st_mode & 0o001 for place in places for p in place.parents):
        return words
    return [*words, "--inh-caps=+dac_read_search", "--ambient-caps=+dac_read_search"]


def blocks(language: str, name: str = "README.md") -> list[str]:
    """The fenced blocks of a language before the chapters on speed and GPUs."""
    text = (ROOT / name).read_text("utf-8")
    text = re.split(r"^## (?:Speed|速度|速さ)", text, flags=re.M)[0]
    return re.findall(rf"^```{language}\n(.*?)^```", text, re.M | re.S)


def commands(name: str = "README.md") -> list[str]:
    """The commands of the README, in their order; what `&&` joins is several."""
    lines = [line.split("  #")[0].strip() for b in blocks("sh", name) for line in b.splitlines()]
    return [part.strip() for line in lines if line for part in line.split(" && ")]


def shortened(command: str) -> str:
    """The command with a few steps, if it trains; of all tests one file."""
    for what, (options, instead_of) in SHORT.items():
        if f"{PROGRAM} {what}" in command:
            return f"{re.sub(instead_of, '', command)} {options}"
    return f"{command} tests/test_gradcheck.py" if " -m pytest" in command else command


def pasted(output: str) -> list[str]:
    """The commands of this program in what was printed, with words in place of "..."."""
    lines = re.findall(rf"(?<!\S){re.escape(PROGRAM)} [^\n]*", output)
    return [re.sub(r'"\.\.\."', '"Hello"', line.rstrip(" .,)")) for line in lines]


class NewUser:
    """A user without name and home, in a clone of the repository."""

    def __init__(self, base: Path) -> None:
        self.base, self.clone = base, base / "tinygrad_llm"
        self.files = 0
        python = base / "bin"
        python.mkdir()
        (python / "python3").symlink_to(getattr(sys, "_base_executable", sys.executable))
        (base / "tmp").mkdir()
        self.before = set(self.files_of_the_user())  # a run that was killed leaves its folder
        fetch_builder(base / "wheels")
        copy_of_the_repository(self.clone)
        for path in (base, *base.rglob("*")):
            os.chown(path, USER, USER, follow_symlinks=False)
        self.environment = {
            "PATH": f"{python}:/usr/bin:/bin",
            "TMPDIR": str(base / "tmp"),
            "PYTHONUTF8": "0",
            "PYTHONIOENCODING": "cp1252:strict",
            "http_proxy": "http://127.0.0.1:9",  # nobody listens there: no network
            "https_proxy": "http://127.0.0.1:9",
            "PIP_NO_INDEX": "1",
            "PIP_FIND_LINKS": str(base / "wheels"),
            "PIP_DISABLE_PIP_VERSION_CHECK": "1",
        }

    def run(self, command: str, codes: tuple[int, ...] = (0,)) -> str:
        """Run a line as a shell does; returns what it printed."""
        self.files += 1
        file = self.base / f"output-{self.files}.txt"
        with open(file, "wb") as out:
            done = subprocess.run(
                [*as_unknown_user(), "/bin/bash", "-c", command], cwd=self.clone,
                env=self.environment, stdout=out, stderr=subprocess.STDOUT,
                stdin=subprocess.DEVNULL, timeout=480,
            )  # fmt: skip
        output = file.read_bytes().decode("cp1252")  # raises for a byte that it does not have
        assert done.returncode in codes, f"{command}: code {done.returncode}\n{output[-3000:]}"
        assert "Traceback" not in output and "internal error" not in output, output[-3000:]
        return output

    def files_of_the_user(self) -> list[str]:
        """What belongs to this user in the folders where everybody may write."""
        folders = {Path(p) for p in ("/tmp", "/var/tmp", "/dev/shm", tempfile.gettempdir())}
        return [
            str(path)
            for folder in folders
            if folder.is_dir()
            for path in folder.iterdir()
            if path != self.base and path.lstat().st_uid == USER
        ]

    def written_elsewhere(self) -> list[str]:
        """New files of this user outside of its clone, and new ones in the clone that are not
        expected."""
        others = sorted(set(self.files_of_the_user()) - self.before)
        known = {path.split("/")[0] for path in tracked_files()}
        return others + sorted({p.name for p in self.clone.iterdir()} - known - WRITTEN)


def tracked_files() -> list[str]:
    """The files of the repository, as git lists them."""
    listed = subprocess.run(
        ["git", "-c", "safe.directory=*", "ls-files", "-z"], cwd=ROOT, capture_output=True
    )
    names = [os.fsdecode(name) for name in listed.stdout.split(b"\0") if name]
    return [name for name in names if (ROOT / name).is_file()]


def copy_of_the_repository(folder: Path) -> None:
    """What `git clone` would bring, with changes that are not committed yet."""
    for name in tracked_files():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / name, folder / name)


def fetch_builder(folder: Path) -> None:
    """The wheels that build this package, from pip's cache or the network of the test's machine."""
    pip = [sys.executable, "-m", "pip", "download", "-q", "--disable-pip-version-check"]
    done = subprocess.run([*pip, "-d", folder, "hatchling", "editables"], capture_output=True)
    if done.returncode:
        pytest.skip("hatchling, which builds this package, is not here and cannot be fetched")


@pytest.fixture
def new_user():
    if not tracked_files():
        pytest.skip("this is not a git repository: what would a clone hold?")
    base = Path(tempfile.mkdtemp(prefix="first-hour-"))
    base.chmod(0o755)
    try:
        yield NewUser(base)
    finally:
        shutil.rmtree(base, ignore_errors=True)


@pytest.fixture
def busy_machine():
    """A process without pause for each core."""
    code = "while True: pass"
    busy = [subprocess.Popen([sys.executable, "-c", code]) for _ in range(os.cpu_count() or 1)]
    try:
        yield
    finally:
        for process in busy:
            process.kill()
            process.wait()


@needs_root
@pytest.mark.slow
@pytest.mark.ci
def test_the_readme_from_top_to_bottom(new_user, busy_machine):
    packages = sysconfig.get_paths()["purelib"]
    done: set[str] = set()
    began = time.monotonic()
    for command in commands():
        if command.startswith("git clone"):
            continue
        output = new_user.run(shortened(command))
        if " -m venv " in command:
            version = f"python{sys.version_info[0]}.{sys.version_info[1]}"
            site = new_user.clone / ".venv" / "lib" / version / "site-packages"
            (site / "of-the-running-environment.pth").write_text(f"{packages}\n")
        done.add(command)
        if " doctor" in command:
            continue  # what it prints changes the machine; the first words are checked elsewhere
        for line in pasted(output):
            if line not in done and shortened(line) not in done:
                done |= {line, shortened(line)}
                new_user.run(shortened(line), (0, 1) if any(w in line for w in MAY_FAIL) else (0,))
    for program in blocks("python")[:1]:
        (new_user.clone / "runs" / "twelve.py").write_text(program, "utf-8")
        printed = new_user.run(".venv/bin/python runs/twelve.py")
        assert printed.startswith(re.findall(r"^# ([0-9.]+)\.\.\. ", program, re.M)[0])
    assert new_user.written_elsewhere() == []
    for word in ("generate", "exercise check", "finetune ask runs/dpo"):
        assert any(f"{PROGRAM} {word}" in command for command in done), word
    print("\n".join(sorted(done)), f"{len(done)} in {time.monotonic() - began:.0f} s", sep="\n")


# ------------------------------------------------------------------- the same in a few seconds
def test_the_commands_of_both_readmes_are_the_same():
    assert len(commands()) >= 14 and commands() == commands("README.ja.md")
    for what in SHORT:
        assert any(f"{PROGRAM} {what}" in shortened(c) for c in commands()), what


def test_every_command_of_the_readme_parses(capsys):
    """With --help at its end a command is parsed and not run."""
    from tinygrad_llm.cli import main

    for command in commands():
        if command.startswith(PROGRAM):
            words = shlex.split(command, comments=True)[1:]
            with pytest.raises(SystemExit) as ended:
                main([*words, "--help"])
            assert not ended.value.code, command
    assert "Usage" in capsys.readouterr().out


@needs_root
@pytest.mark.slow
@pytest.mark.ci
def test_a_user_without_name_and_home(tmp_path):
    """Output in cp1252 and a folder that cannot be written, straight from the source.

    Without the compiled loops, which would be compiled again in each process, because this user
    has no folder where Numba could keep them (test_loops has that).
    """
    environment = {"PYTHONPATH": str(ROOT), "PYTHONIOENCODING": "cp1252:strict", "PYTHONUTF8": "0"}
    environment |= {"PYTHONDONTWRITEBYTECODE": "1", "TINYGRAD_LLM_LOOPS": "0"}
    small = "--emb-dim 32 --n-layers 1 --n-heads 2 --context-length 32 --batch-size 2"
    for arguments, code in (
        (("study", "exp"), 0),
        (("study",), 0),
        (("exercise", "list"), 0),
        (("generate", "~/nothing"), 2),
        (("pretrain", "--plan", "--steps", "2", *small.split()), 0),
        (("exercise", "start", "exp", "--folder", "/no/such/place"), 2),
    ):
        done = subprocess.run(
            [*as_unknown_user(), sys.executable, "-m", "tinygrad_llm.cli", *arguments],
            env=environment, cwd="/", capture_output=True, timeout=120,
        )  # fmt: skip
        shown = (done.stdout + done.stderr).decode("cp1252")
        assert done.returncode == code and "Traceback" not in shown, shown[-2000:]
        assert "internal error" not in shown
