"""SmolLM2 in each format: bytes, error, perplexity, tokens/s; and other programs beside it.

    python -m benchmarks formats --threads 2 --others      the numbers of FORMATS.md
    python -m benchmarks formats --threads 2 --only q4_1,llama.cpp --part speed    a piece of them

Every row is measured in a new process. `error` is the relative error of all matrices,
|W - W'| / |W| with W the file's. `perplexity` is that of the-verdict.txt, exp of the mean loss in
nats per token over windows of --tokens. `load` is the time of from_pretrained, `peak` what loading
adds to the most that the process has held (resident). tokens/s are of greedy generation after a
short prompt, the most of three times.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from typing import Any

from . import common, machine

MODEL = "smollm2-135m-instruct"
PROMPT = [1, 9690, 198, 2683]  # the first ids of a chat
FORMATS = ("float32", "bfloat16", "int8", "q8_0", "q4_1", "q4_0", "nf4", "gguf")
OTHERS = {  # program: the format in which it keeps the weights
    "ours, loops": "gguf",
    "ours, no loops": "gguf",
    "ours, no loops, float32": "float32",
    "transformers": "float32",
    "llama.cpp": "gguf",
}


def peak() -> int:
    """The most memory that this process has held, in bytes; 0 where the system does not say."""
    try:
        with open("/proc/self/status") as file:
            lines = [line for line in file if line.startswith("VmHWM")]
    except OSError:
        return 0
    return int(lines[0].split()[1]) * 1024


def load(kind: str, name: str = MODEL) -> Any:
    """A published model with its weights in a format."""
    import tinygrad_llm as torch
    from tinygrad_llm.layers.half_weights import keep_in_half
    from tinygrad_llm.models import from_pretrained

    if kind == "bfloat16":  # the matrices, as generate --dtype bfloat16 keeps them
        model = from_pretrained(name, dtype=torch.bfloat16)
        keep_in_half(model, torch.bfloat16)
        return model
    if kind == "float32":
        return from_pretrained(name)
    return from_pretrained(name, quantize=kind)


def perplexity(model: Any, tokens: int, windows: int) -> float:
    """exp of the mean loss over the first windows of the-verdict.txt."""
    import tinygrad_llm as torch
    from tinygrad_llm import text
    from tinygrad_llm.data import corpora

    with open(corpora.path("the-verdict"), encoding="utf-8") as file:
        ids = text.from_pretrained(MODEL).encode(file.read())
    count = min(windows, (len(ids) - 1) // tokens)
    total = 0.0
    with torch.no_grad():
        for i in range(count):
            part = torch.tensor([ids[i * tokens : (i + 1) * tokens + 1]])
            total += float(model.loss(part[:, :-1], part[:, 1:]).item())
    return math.exp(total / count)


def weights_error(model: Any) -> float:
    """|W - W'| / |W| over all matrices, W those of the file."""
    import numpy as np

    exact = dict(load("float32").named_modules())
    difference = norm = 0.0
    for name, module in model.named_modules():
        own = getattr(module, "matrix", None)
        weight = getattr(exact.get(name), "weight", None)
        if weight is None or weight.ndim != 2:
            continue
        values = module.weight.detach().float().numpy() if own is None else own.dequantize()
        w = weight.detach().numpy()
        difference += float(np.square(values - w, dtype=np.float64).sum())
        norm += float(np.square(w, dtype=np.float64).sum())
    return math.sqrt(difference / norm)


def speed(generate: Callable[[int], Any], new: int) -> float:
    """Tokens/s of generate(number of tokens), the most of three times.

    A first call warms up; a second says whether `new` tokens take longer than 10 s: then fewer.
    """

    def seconds(n: int) -> float:
        start = time.perf_counter()
        generate(n)
        return time.perf_counter() - start

    generate(2)
    n = min(new, max(4, int(10.0 * 4 / seconds(4))))
    return n / min(seconds(n) for _ in range(3))


def loaded(load: Callable[[], Any]) -> tuple[Any, dict[str, float]]:
    """What load returns; its seconds, and what it adds to the most that the process has held."""
    before, start = peak(), time.perf_counter()
    model = load()
    return model, {"load": time.perf_counter() - start, "peak": peak() - before}


def ours(kind: str, new: int) -> tuple[Any, dict[str, float]]:
    """The model in a format; its load time, peak and tokens/s."""
    import tinygrad_llm as torch
    import tinygrad_llm.models
    from tinygrad_llm.generation import generate

    model, measured = loaded(lambda: load(kind))
    ids = torch.tensor([PROMPT])
    measured["speed"] = speed(lambda n: generate(model, ids, n, temperature=0.0), new)
    return model, measured


def measure(kind: str, part: str, tokens: int, windows: int, new: int) -> dict[str, float]:
    """What a process measures of one format: its speed, its quality, or all."""
    from tinygrad_llm.layers import quantized

    if part == "quality":
        model, measured = load(kind), {}
    else:
        model, measured = ours(kind, new)
    n_bytes = sum(p.nbytes for p in model.parameters())
    n_bytes += sum(matrix.nbytes for matrix in quantized.matrices(model))
    measured["bytes"] = n_bytes
    if part != "speed":
        measured["perplexity"] = perplexity(model, tokens, windows)
        measured["error"] = weights_error(model)
    return measured


def other(name: str, new: int, threads: int) -> dict[str, float]:
    """Load time, peak and tokens/s of one program on the same file."""
    from tinygrad_llm.weights import packaged

    if name.startswith("ours"):
        return ours(OTHERS[name], new)[1]
    path = str(packaged.find(MODEL))
    return (with_transformers if name == "transformers" else llama_cpp)(path, new, threads)


def with_transformers(path: str, new: int, threads: int) -> dict[str, float]:
    """The same of transformers, which decodes the file to float32."""
    import torch
    import transformers

    torch.set_num_threads(threads)
    transformers.utils.logging.disable_progress_bar()
    folder, file = os.path.split(path)
    kind = transformers.AutoModelForCausalLM
    model, measured = loaded(lambda: kind.from_pretrained(folder, gguf_file=file))
    ids = torch.tensor([PROMPT])
    mask = torch.ones_like(ids)

    def generate(n: int) -> Any:
        return model.generate(
            ids, attention_mask=mask, max_new_tokens=n, min_new_tokens=n, do_sample=False
        )

    return {**measured, "speed": speed(generate, new)}


def llama_cpp(path: str, new: int, threads: int) -> dict[str, float]:
    """The same of llama.cpp, through the package xllamacpp."""
    import xllamacpp

    params = xllamacpp.CommonParams()
    params.model.path, params.n_ctx, params.n_parallel = path, 512, 1
    params.cpuparams.n_threads = threads
    params.n_gpu_layers, params.warmup, params.verbosity = 0, False, -1
    server, measured = loaded(lambda: xllamacpp.Server(params))
    fixed = {"prompt": PROMPT, "temperature": 0, "ignore_eos": True, "cache_prompt": False}

    def generate(n: int) -> Any:
        return server.handle_completions({**fixed, "max_tokens": n})

    return {**measured, "speed": speed(generate, new)}


def child(arguments: list[str], **environment: str) -> dict[str, float] | str:
    """What a fresh process measured, or why it could not."""
    command = [sys.executable, "-m", "benchmarks.formats", *arguments]
    done = subprocess.run(
        command, capture_output=True, text=True, env={**os.environ, **environment}
    )
    if done.returncode:
        return (done.stderr.strip().splitlines() or ["it ended early"])[-1][:200]
    measured: dict[str, float] = json.loads(done.stdout.strip().splitlines()[-1])
    return measured


def parser() -> argparse.ArgumentParser:
    """The options of this benchmark."""
    parser = common.parser("formats", __doc__)
    parser.add_argument("--tokens", type=int, default=256, help="of a window for the perplexity")
    parser.add_argument("--windows", type=int, default=100, help="at most")
    parser.add_argument("--new", type=int, default=64, help="tokens to generate")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--others", action="store_true", help="transformers and llama.cpp too")
    parser.add_argument("--only", help=f"these rows only, by comma: {', '.join(FORMATS)}, ...")
    parser.add_argument("--part", choices=("all", "speed", "quality"), default="all",
                        help="speed: no perplexity, no error")  # fmt: skip
    return parser


def rows_of(only: str | None, others: bool) -> tuple[list[str], list[str]]:
    """The formats and the programs to measure.

    Raises: SystemExit for a name that is neither.
    """
    if only is None:
        return list(FORMATS), list(OTHERS) if others else []
    known = {name.replace(", ", "-").replace(" ", "-"): name for name in (*FORMATS, *OTHERS)}
    names = only.split(",")
    wrong = [name for name in names if name not in known]
    if wrong:
        raise SystemExit(f"--only: {wrong[0]} is not known; there are {', '.join(known)}")
    chosen = [known[name] for name in names]
    return [n for n in chosen if n in FORMATS], [n for n in chosen if n in OTHERS]


def main(argv: list[str]) -> dict[str, Any]:
    """Measures and prints both tables."""
    o = parser().parse_args(argv)
    formats, programs = rows_of(o.only, o.others)
    print(machine.describe(), f"\nthreads: {o.threads}\n")
    threads = {"OMP_NUM_THREADS": str(o.threads), "OPENBLAS_NUM_THREADS": str(o.threads)}
    results: dict[str, Any] = {}
    if formats:
        _print_row(("format", "MB", "error", "perplexity", "tokens/s", "load, s", "peak, MB"))
        _print_row(["---"] * 7)
    for kind in formats:
        sizes = [str(n) for n in (o.tokens, o.windows, o.new)]
        results[kind] = child([kind, o.part, *sizes], **threads)
        _print_row([kind, *_cells(results[kind], "bytes error perplexity speed load peak")])
    if programs:
        print()
        _print_row(("program", "weights kept in", "tokens/s", "load, s", "peak, MB"))
        _print_row(["---"] * 5)
    for name in programs:
        loops = {"TINYGRAD_LLM_LOOPS": "0"} if "no loops" in name else {}
        asked = ["other", name, str(o.new), str(o.threads)]
        results[name] = child(asked, **threads, **loops)
        _print_row([name, OTHERS[name], *_cells(results[name], "speed load peak")])
    return results


FORMS: dict[str, Callable[[float], str]] = {
    "bytes": lambda x: f"{x / 1e6:.1f}", "error": lambda x: f"{x:.5f}",
    "perplexity": lambda x: f"{x:.3f}", "speed": lambda x: f"{x:.1f}",
    "load": lambda x: f"{x:.2f}", "peak": lambda x: f"{x / 1e6:.0f}",
}  # fmt: skip


def _cells(measured: dict[str, float] | str, keys: str) -> list[str]:
    if isinstance(measured, str):
        return [measured]
    return [FORMS[key](measured[key]) if key in measured else "" for key in keys.split()]


def _print_row(cells: Sequence[str]) -> None:
    print(f"| {' | '.join(cells)} |", flush=True)


if __name__ == "__main__":
    if sys.argv[1] == "other":
        print(json.dumps(other(sys.argv[2], int(sys.argv[3]), int(sys.argv[4]))))
    else:
        print(json.dumps(measure(sys.argv[1], sys.argv[2], *map(int, sys.argv[3:6]))))
