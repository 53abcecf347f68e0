"""Six ways to load one model's weights: seconds, and the most memory that each takes.

    python -m benchmarks loading --layers 12

Each way runs in a new process each time. `peak` is what loading adds to the most that the process
has held (resident), over the bytes of the weights in float32; pages of a file that is mapped count
while they are in memory, though the system may take them back. `own` counts what the program itself
takes (tracemalloc), without the file: from it one sees how many copies a way makes. The empty
arrays of a model that waits for its weights count there, and not in `peak`.
"""

from __future__ import annotations

import json
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from . import common, machine

WAYS = {
    "whole": "random weights, then load_state_dict of all arrays of model.safetensors",
    "torch file": "the same from a .pth file of torch.save",
    "one by one": "from_pretrained: one array of model.safetensors at a time, mapped",
    "shards": "the same from files of at most a fifth of the weights",
    "gguf": "from_pretrained: Q8_0 of a GGUF file, decoded where it belongs",
    "gguf, kept": "the same, with the weights left as the file stores them",
}


def make(folder: Path, layers: int) -> None:
    """The same random Llama in every format."""
    import tinygrad_llm as torch
    from tinygrad_llm.models.exporting import save_gguf
    from tinygrad_llm.models.llama import Llama
    from tinygrad_llm.models.pretrained import save_pretrained
    from tinygrad_llm.weights import save_model

    model = Llama(config(layers))
    n_bytes = sum(p.nbytes for p in model.parameters())
    save_pretrained(model, folder / "whole")
    save_pretrained(model, folder / "shards", shard_bytes=n_bytes // 5)
    save_gguf(model, folder / "q8_0.gguf", "Q8_0")
    torch.save(model.state_dict(), folder / "model.pth")
    save_model(model, folder / "own.safetensors")


def config(layers: int) -> Any:
    """SmolLM2's sizes, with as many layers as asked for."""
    import dataclasses

    from tinygrad_llm.models.llama import PRESETS

    return dataclasses.replace(PRESETS["smollm2-135m"], n_layers=layers)


def load(way: str, folder: Path, layers: int) -> Any:
    """The model, loaded in one of WAYS."""
    import tinygrad_llm as torch
    from tinygrad_llm.models.llama import Llama
    from tinygrad_llm.models.pretrained import from_pretrained
    from tinygrad_llm.weights import load_file

    if way == "whole":
        model = Llama(config(layers))
        arrays = load_file(folder / "own.safetensors")
        model.load_state_dict({n: torch.tensor(a) for n, a in arrays.items()}, strict=False)
        return model
    if way == "torch file":
        model = Llama(config(layers))
        model.load_state_dict(torch.load(folder / "model.pth"))
        return model
    places = {"one by one": "whole", "shards": "shards"}
    return from_pretrained(
        folder / places.get(way, "q8_0.gguf"), quantize="gguf" if way == "gguf, kept" else None
    )


def measure(way: str, folder: Path, layers: int, traced: bool) -> dict[str, float]:
    """Seconds and peaks of one way, in this process."""
    import tracemalloc

    import tinygrad_llm.models.pretrained  # noqa: F401

    if traced:
        tracemalloc.start()
    before, start = resident(), time.perf_counter()
    model = load(way, folder, layers)
    seconds = time.perf_counter() - start
    own = tracemalloc.get_traced_memory()[1] if traced else 0
    del model
    return {"seconds": seconds, "peak": resident() - before, "own": own}


def resident() -> int:
    """The most bytes that this program has held; on Linux not of the one it was forked from."""
    try:
        with open("/proc/self/status") as file:
            return next(int(line.split()[1]) for line in file if line.startswith("VmHWM")) * 1024
    except (OSError, StopIteration):
        return machine.peak_memory()


def in_process(way: str, folder: Path, layers: int, traced: bool) -> dict[str, float]:
    """`measure` in a new process."""
    code = (
        "import json, sys; from pathlib import Path; from benchmarks.loading import measure; "
        f"print(json.dumps(measure({way!r}, Path(sys.argv[1]), {layers}, {traced})))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(folder)], env=machine.clean_environment(),
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    return json.loads(done.stdout)


def main(argv: list[str]) -> dict[str, Any]:
    parser = common.parser("loading", __doc__)
    parser.add_argument("--layers", type=int, default=12, help="blocks of the model")
    parser.add_argument("--rounds", type=int, default=3, help="processes of each way")
    options = parser.parse_args(argv)
    print(machine.describe(), "\n")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        make(folder, options.layers)
        sizes = [file.stat().st_size for file in (folder / "whole").glob("*.safetensors")]
        results = rounds(
            lambda way, traced: in_process(way, folder, options.layers, traced), options.rounds
        )
    print(f"weights in float32: {sum(sizes) / 1e6:,.0f} MB\n")
    print(f"{'':14}{'seconds':>9}{'peak':>8}{'own':>8}")
    for way, text in WAYS.items():
        r = results[way]
        peak, own = (r[name] / sum(sizes) for name in ("peak", "own"))
        print(f"{way:14}{r['seconds']:9.2f}{peak:8.2f}{own:8.2f}   {text}")
    return {"bytes": sum(sizes), "ways": results}


def rounds(run: Callable[[str, bool], dict[str, float]], n: int) -> dict[str, dict[str, float]]:
    """The ways one after the other: medians, and `own` of a run that is traced."""
    times: dict[str, list[dict[str, float]]] = {way: [] for way in WAYS}
    for _ in range(max(1, n)):
        for way in WAYS:
            times[way].append(run(way, False))
    return {
        way: {
            "seconds": statistics.median(t["seconds"] for t in runs),
            "peak": statistics.median(t["peak"] for t in runs),
            "own": run(way, True)["own"],
        }
        for way, runs in times.items()
    }
