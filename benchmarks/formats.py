"""SmolLM2 in each format: bytes, error, perplexity, tokens/s; and other programs beside it.

    python -m benchmarks formats
    python -m benchmarks formats --tokens 256 --new 64 --others    the numbers of SPEED.md

Every format is measured in a new process. `error` is the relative error of all matrices,
|W - W'| / |W| with W the file's. `perplexity` is that of the-verdict.txt, exp of the mean loss in
nats per token over windows of --tokens. `load` is the time of from_pretrained, `peak` what loading
adds to the most that the process has held (resident). tokens/s are of greedy generation.
"""

from __future__ import annotations

import json
import math
import os
import subprocess
import sys
import time
from typing import Any

from . import common, machine

MODEL = "smollm2-135m-instruct"
FORMATS = ("float32", "bfloat16", "int8", "q8_0", "q4_1", "nf4", "gguf")
OTHERS = ("ours, loops", "ours, no loops", "transformers", "llama.cpp")


def peak() -> int:
    """The most memory that this process has held, in bytes; 0 where the system does not say."""
    try:
        with open("/proc/self/status") as file:
            lines = [line for line in file if line.startswith("VmHWM")]
    except OSError:
        return 0
    return int(lines[0].split()[1]) * 1024


def load(kind: str) -> Any:
    """The model with its weights in a format."""
    import tinygrad_llm as torch
    from tinygrad_llm.models import from_pretrained

    if kind in ("float32", "bfloat16"):
        return from_pretrained(MODEL, dtype=getattr(torch, kind))
    return from_pretrained(MODEL, quantize=kind)


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


def speed(model: Any, new: int) -> float:
    """Tokens/s of greedy generation after a short prompt, without the first token."""
    import tinygrad_llm as torch
    from tinygrad_llm.generation import generate

    ids = torch.tensor([[1, 9690, 198, 2683]])
    with torch.no_grad():
        generate(model, ids, 2, temperature=0.0)
        start = time.perf_counter()
        generate(model, ids, new, temperature=0.0)
    return new / (time.perf_counter() - start)


def measure(kind: str, tokens: int, windows: int, new: int) -> dict[str, float]:
    """What a process measures of one format."""
    import tinygrad_llm.models  # noqa: F401  imported before the clock runs
    from tinygrad_llm.layers import quantized

    before, start = peak(), time.perf_counter()
    model = load(kind)
    seconds, grown = time.perf_counter() - start, peak() - before
    n_bytes = sum(p.nbytes for p in model.parameters())
    n_bytes += sum(matrix.nbytes for matrix in quantized.matrices(model))
    return {
        "bytes": n_bytes, "load": seconds, "peak": grown, "speed": speed(model, new),
        "perplexity": perplexity(model, tokens, windows), "error": weights_error(model),
    }  # fmt: skip


def other(name: str, new: int, threads: int) -> dict[str, float]:
    """Load time, peak and tokens/s of one program on the same file."""
    from tinygrad_llm.weights import packaged

    path = str(packaged.find(MODEL))
    if name.startswith("ours"):
        import tinygrad_llm.models  # noqa: F401

        before, start = peak(), time.perf_counter()
        model = load("gguf" if "no" not in name else "float32")
        seconds, grown = time.perf_counter() - start, peak() - before
        return {"load": seconds, "peak": grown, "speed": speed(model, new)}
    if name == "transformers":
        import torch
        import transformers

        torch.set_num_threads(threads)
        folder, file = os.path.split(path)
        before, start = peak(), time.perf_counter()
        theirs = transformers.AutoModelForCausalLM.from_pretrained(folder, gguf_file=file)
        seconds, grown = time.perf_counter() - start, peak() - before
        ids = torch.tensor([[1, 9690, 198, 2683]])
        options: dict[str, Any] = {"do_sample": False, "min_new_tokens": new}
        theirs.generate(ids, max_new_tokens=2, do_sample=False)
        start = time.perf_counter()
        theirs.generate(ids, max_new_tokens=new, **options)
        return {"load": seconds, "peak": grown, "speed": new / (time.perf_counter() - start)}
    return llama_cpp(path, new, threads)


def llama_cpp(path: str, new: int, threads: int) -> dict[str, float]:
    """The same of llama.cpp, through the package xllamacpp."""
    import xllamacpp

    params = xllamacpp.CommonParams()
    params.model.path, params.n_ctx, params.n_parallel = path, 512, 1
    params.cpuparams.n_threads = threads
    params.n_gpu_layers, params.warmup, params.verbosity = 0, False, -1
    before, start = peak(), time.perf_counter()
    server = xllamacpp.Server(params)
    seconds, grown = time.perf_counter() - start, peak() - before
    asked = {"prompt": [1, 9690, 198, 2683], "temperature": 0, "max_tokens": 2,
             "ignore_eos": True, "cache_prompt": False}  # fmt: skip
    server.handle_completions(asked)
    start = time.perf_counter()
    server.handle_completions({**asked, "max_tokens": new})
    return {"load": seconds, "peak": grown, "speed": new / (time.perf_counter() - start)}


def child(arguments: list[str], **environment: str) -> dict[str, float] | str:
    """What a fresh process measured, or why it could not."""
    command = [sys.executable, "-m", "benchmarks.formats", *arguments]
    done = subprocess.run(
        command, capture_output=True, text=True, env={**os.environ, **environment}
    )
    if done.returncode:
        return (done.stderr.strip().splitlines() or ["it ended early"])[-1][:70]
    measured: dict[str, float] = json.loads(done.stdout.strip().splitlines()[-1])
    return measured


def main(argv: list[str]) -> dict[str, Any]:
    """Measures and prints both tables."""
    parser = common.parser("formats", __doc__)
    parser.add_argument("--tokens", type=int, default=256, help="of a window for the perplexity")
    parser.add_argument("--windows", type=int, default=100, help="at most")
    parser.add_argument("--new", type=int, default=64, help="tokens to generate")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--formats", default=",".join(FORMATS))
    parser.add_argument("--others", action="store_true", help="transformers and llama.cpp too")
    o = parser.parse_args(argv)
    print(machine.describe(), "\n")
    threads = {"OMP_NUM_THREADS": str(o.threads), "OPENBLAS_NUM_THREADS": str(o.threads)}
    results: dict[str, Any] = {}
    print("| format | MB | error | perplexity | tokens/s | load, s | peak, MB |")
    print("|---|---|---|---|---|---|---|")
    for kind in o.formats.split(","):
        sizes = [str(n) for n in (o.tokens, o.windows, o.new)]
        r = results[kind] = child([kind, *sizes], **threads)
        print(f"| {kind} | {r} |" if isinstance(r, str) else _row(kind, r), flush=True)
    if o.others:
        print("\n| program | tokens/s | load, s | peak, MB |\n|---|---|---|---|")
        for name in OTHERS:
            loops = {"TINYGRAD_LLM_LOOPS": "0"} if "no loops" in name else {}
            r = results[name] = child(["other", name, str(o.new), str(o.threads)],
                                      **threads, **loops)  # fmt: skip
            if isinstance(r, str):
                print(f"| {name} | {r} |", flush=True)
                continue
            print(f"| {name} | {r['speed']:.1f} | {r['load']:.2f} | {r['peak'] / 1e6:.0f} |",
                  flush=True)  # fmt: skip
    return results


def _row(kind: str, r: dict[str, float]) -> str:
    return (
        f"| {kind} | {r['bytes'] / 1e6:.1f} | {r['error']:.5f} | {r['perplexity']:.3f} | "
        f"{r['speed']:.1f} | {r['load']:.2f} | {r['peak'] / 1e6:.0f} |"
    )


if __name__ == "__main__":
    if sys.argv[1] == "other":
        print(json.dumps(other(sys.argv[2], int(sys.argv[3]), int(sys.argv[4]))))
    else:
        print(json.dumps(measure(sys.argv[1], *map(int, sys.argv[2:5]))))
