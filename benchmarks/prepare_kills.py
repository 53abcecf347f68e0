"""python -m benchmarks prepare-kills FOLDER: `prepare` with 1 and 2 processes, and killed often.

FOLDER is one of texts, such as `prepare packages --out shards` leaves in shards-texts. It is
prepared with one process and with two, then by a command that is killed (SIGKILL, its whole process
group) --kills times: half of them when it has written some more files, the others after some
seconds. All three must end with the same bytes.
"""

from __future__ import annotations

import hashlib
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from . import common, machine

_LIMIT = 60.0  # seconds that are waited for more files


def command(folder: Path, out: Path, processes: int, options: Any) -> list[str]:
    """What is run."""
    return [
        sys.executable, "-m", "tinygrad_llm", "prepare", str(folder), "--out", str(out),
        "--tokenizer", options.tokenizer, "--vocab-size", str(options.vocab_size),
        "--processes", str(processes),
    ]  # fmt: skip


def hashes(out: Path) -> dict[str, str]:
    """The SHA-256 of each file of a finished preparation; the lock is none of them."""
    return {path.name: hashlib.sha256(path.read_bytes()).hexdigest()
            for path in sorted(out.iterdir())
            if path.is_file() and not path.name.startswith(".")}  # fmt: skip


def count(out: Path) -> int:
    """The files that a preparation has written so far, half written ones too."""
    return sum(len(names) for _, _, names in os.walk(out))


def killed(arguments: list[str], out: Path, files: int | None, seconds: float) -> bool:
    """Starts the command and kills it: after so many more files, or with None after the seconds.

    Returns whether it was still running. Raises: SystemExit if it ended with an error.
    """
    target = None if files is None else count(out) + files
    until = time.monotonic() + (seconds if files is None else _LIMIT)
    with tempfile.TemporaryFile() as errors:
        process = subprocess.Popen(
            arguments, start_new_session=True, stdout=subprocess.DEVNULL, stderr=errors
        )
        while process.poll() is None and time.monotonic() < until:
            if target is not None and count(out) >= target:
                break
            time.sleep(0.003)
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
            return True
        errors.seek(0)
        if process.returncode != 0:
            sys.exit(f"the command ended with {process.returncode}: {errors.read().decode()}")
        return False


def main(argv: list[str] | None = None) -> Any:
    parser = common.parser("prepare-kills", __doc__)
    parser.add_argument("folder", type=Path, help="of texts")
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--longest", type=float, default=12.0, help="seconds before a kill [12]")
    parser.add_argument("--tokenizer", default="bpe")
    parser.add_argument("--vocab-size", type=int, default=4096)
    parser.add_argument("--seed", type=int, default=7)
    options = parser.parse_args(argv)
    print(machine.describe(), flush=True)
    place = Path(tempfile.mkdtemp(prefix="prepare-kills-"))
    try:
        return compare(options, place)
    finally:
        shutil.rmtree(place)


def compare(options: Any, place: Path) -> dict[str, Any]:
    """Prepares three times, and says what is equal; place: for the results."""
    whole: list[dict[str, str]] = []
    for processes in (1, 2):
        out, began = place / f"whole{processes}", time.perf_counter()
        arguments = command(options.folder.absolute(), out, processes, options)
        subprocess.run(arguments, check=True, stdout=subprocess.DEVNULL)
        whole.append(hashes(out))
        print(f"{processes} processes: {time.perf_counter() - began:.1f} s, {len(whole[-1])} files")
    out, draw, kills, ended = place / "killed", random.Random(options.seed), 0, 0
    again = command(options.folder.absolute(), out, 2, options)
    while kills < options.kills:
        files = draw.randint(1, 6) if draw.random() < 0.5 else None
        if killed(again, out, files, draw.uniform(0.5, options.longest)):
            kills += 1
            print(f"kill {kills} at {count(out)} files", flush=True)
        else:
            ended += 1
        if (out / "manifest.json").exists() and kills < options.kills:  # from nothing again
            if hashes(out) != whole[0]:
                sys.exit(f"DIFFERENT bytes after {kills} kills")
            shutil.rmtree(out)
    if not (out / "manifest.json").exists():
        subprocess.run(again, check=True, stdout=subprocess.DEVNULL)
    same = whole[0] == whole[1], hashes(out) == whole[0]
    words = ["the same bytes" if each else "DIFFERENT bytes" for each in same]
    print(f"1 and 2 processes: {words[0]}; after {kills} kills ({ended} runs ended): {words[1]}")
    return {"kills": kills, "ended": ended, "same": list(same), "files": whole[0]}
