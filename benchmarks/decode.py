"""Tokens/s of a published model, ours and llama.cpp's alternately on the same file.

    python -m benchmarks decode --threads 1
    python -m benchmarks decode --model gemma-3-270m --formats gguf,nf4
    python -m benchmarks decode --drafts 4        speculative decoding: what drafts bring

Greedy, after a short prompt, one text; the median time of a token. Every format of --formats runs
in a fresh process; "gguf" has the file's own numbers. MBU is the rate of the bytes
of weights (each is read once per token) over the memory's bandwidth, which a copy of 128 MB
measures here. llama.cpp comes with the package xllamacpp; the embedding, of which a token reads one
row, counts for nobody.
"""

from __future__ import annotations

import json
import statistics
import time
from typing import Any

from . import common, machine
from .formats import load

PROMPTS = {
    "smollm2-135m-instruct": [1, 9690, 198, 2683, 359, 260, 3575, 282, 4649, 47],
    "gemma-3-270m": [2, 818, 5279, 529, 7001, 563],
}
LLAMA = "llama.cpp"

# For drafts: a text that the model makes up, and one whose words stand in the prompt already
PASSAGE = (
    "The mill on the river was built of grey stone in 1817. It had two wheels, and each of them "
    "turned three pairs of stones. When the railway came, flour from the coast was cheaper, and "
    "the last miller sold his stones to a farm."
)
CHAT = "<|im_start|>user\n{}<|im_end|>\n<|im_start|>assistant\n"
TEXTS = {
    "smollm2-135m-instruct": {
        "new": CHAT.format("Why is the sky blue, and why is it red in the evening?"),
        "quoted": CHAT.format(f"Write this text again, word for word:\n\n{PASSAGE}"),
    },
    "gemma-3-270m": {
        "new": "The sky is blue by day and red in the evening, because",
        "quoted": f"{PASSAGE}\n\nThe same text once more:\n\n{PASSAGE[:40]}",
    },
}


def ours(model: str, kind: str, new: int) -> dict[str, Any]:
    """Seconds per token and the bytes of weights that a token reads."""
    import numpy as np

    from tinygrad_llm.generation import generate_steps
    from tinygrad_llm.layers import quantized

    made = load(kind, model).eval()
    for _ in generate_steps(made, [PROMPTS[model]], 3):  # warm up
        pass
    clock, tokens = [], []
    for ids in generate_steps(made, [PROMPTS[model]], new):
        clock.append(time.perf_counter())
        tokens.append(int(ids.item()))
    n_bytes = sum(matrix.nbytes for matrix in quantized.matrices(made))
    n_bytes += sum(p.nbytes for p in made.parameters())
    return {"later": np.diff(clock).tolist(), "tokens": tokens, "bytes": n_bytes}


def llama_cpp(model: str, new: int, threads: int) -> dict[str, Any]:
    """The same of llama.cpp: the time of new + 16 tokens without that of 16."""
    import xllamacpp

    from tinygrad_llm.weights import packaged

    params = xllamacpp.CommonParams()
    params.model.path, params.n_ctx, params.n_parallel = str(packaged.find(model)), 512, 1
    params.cpuparams.n_threads = threads
    params.n_gpu_layers, params.warmup, params.verbosity = 0, False, -1
    server = xllamacpp.Server(params)
    spent = []
    for n in (2, 16, new + 16):
        start = time.perf_counter()
        server.handle_completions({
            "prompt": PROMPTS[model], "temperature": 0, "max_tokens": n, "ignore_eos": True,
            "cache_prompt": False,
        })  # fmt: skip
        spent.append(time.perf_counter() - start)
    return {"later": [(spent[2] - spent[1]) / new]}


def drafted(model: str, kind: str, options: Any) -> dict[str, dict[str, Any]]:
    """Greedy text without drafts, looked up, and drafted by the model in other formats.

    Returns {"draft, text": {"seconds" per token, the least of the rounds, "accepted" per draft,
    "calls", "same": whether the tokens are those without drafts}}. The ways alternate.
    """
    from tinygrad_llm.generation import DraftStatistics, generate
    from tinygrad_llm.text import from_pretrained as tokenizer_of

    made = load(kind, model).eval()
    ways: dict[str, Any] = {"none": None, "lookup": "lookup"}
    ways |= {name: load(name, model).eval() for name in options.draft_formats.split(",") if name}
    tokenizer, rows = tokenizer_of(model), dict[str, dict[str, Any]]()
    for label, text in TEXTS[model].items():
        prompt, plain = tokenizer.encode(text, allowed_special="all"), None
        for _ in range(options.rounds + 1):  # the first one warms up
            for way, draft in ways.items():
                counts, drafts = DraftStatistics(), {}
                if draft is not None:
                    drafts = {"draft": draft, "draft_tokens": options.drafts,
                              "draft_statistics": counts}  # fmt: skip
                start = time.perf_counter()
                ids = generate(made, [prompt], options.new, **drafts).tolist()
                spent = (time.perf_counter() - start) / options.new
                plain = plain or ids
                row = rows.setdefault(f"{way}, {label}", {"seconds": float("inf")})
                row |= {"seconds": min(spent, row["seconds"]), "same": ids == plain,
                        "accepted": counts.accepted_per_draft, "calls": counts.calls}  # fmt: skip
    return rows


def measure(side: str, options: Any) -> dict[str, Any]:
    """What a process measures of one side."""
    import tinygrad_llm as torch
    from tinygrad_llm.study.doctor.child import bandwidth

    torch.set_num_threads(options.threads)
    if options.drafts:
        return drafted(options.model, side, options)
    if side == LLAMA:
        return llama_cpp(options.model, options.new, options.threads)
    measured = ours(options.model, side, options.new)
    return {**measured, "bandwidth": bandwidth(options.threads)}


def main(argv: list[str]) -> dict[str, Any] | None:
    """Measure and print the table."""
    parser = common.parser("decode", __doc__)
    parser.add_argument("--model", choices=PROMPTS, default="smollm2-135m-instruct")
    parser.add_argument("--formats", default="gguf", help="comma-separated; see formats")
    parser.add_argument("--new", type=int, default=64, help="tokens to write, at least 2")
    parser.add_argument("--drafts", type=int, default=0, help="tokens of a draft; alone")
    parser.add_argument("--draft-formats", default="q4_1,nf4", help="of the draft models")
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--side")
    options = parser.parse_args(argv)
    if options.new < 2 or options.drafts < 0:
        parser.error("--new must be at least 2, --drafts 0 or more")
    if options.side:
        print(json.dumps(measure(options.side, options)))
        return None
    here = machine.run_child("benchmarks.machine", threads=options.threads)
    print(here["text"] + "\n")
    sides = options.formats.split(",") + ([] if options.drafts else [LLAMA])
    rounds = common.run_sides(
        "decode", sides, 1 if options.drafts else options.rounds, "--model", options.model,
        "--new", options.new,
        "--drafts", options.drafts, "--draft-formats", options.draft_formats,
        "--rounds", options.rounds, "--threads", options.threads, threads=options.threads,
    )  # fmt: skip
    if options.drafts:
        return _drafts(options, rounds)
    return {"machine": here, "model": options.model, "seconds": _table(options, rounds)}


def _table(options: Any, rounds: dict[str, list]) -> dict[str, float]:
    """Print the table; returns the seconds of a token for each side."""
    print(
        f"{options.model}, {options.new} tokens, {options.threads} threads\n\n"
        f"{'':12}{'ms/token':>10}{'tokens/s':>10}{'weights':>10}{'read':>12}{'MBU':>6}{'ratio':>7}"
    )
    medians = {
        side: statistics.median(t for run in runs for t in run["later"])
        for side, runs in rounds.items()
    }
    for side, step in medians.items():
        line = f"{side:12}{step * 1e3:10.2f}{1 / step:10.1f}"
        if side != LLAMA:
            n_bytes = rounds[side][0]["bytes"]
            peak = max(run["bandwidth"] for run in rounds[side])
            rate = n_bytes / step / 1e9
            line += f"{n_bytes / 1e6:7.0f} MB{rate:7.1f} GB/s{rate / peak:6.0%}"
            line += f"{medians[LLAMA] / step:7.2f}"
        print(line)
    print("\nratio: llama.cpp's time over ours; above 1 ours is faster")
    return medians


def _drafts(options: Any, rounds: dict[str, list]) -> dict[str, Any]:
    """Print what drafts bring; returns the seconds of a token for each way."""
    print(
        f"{options.model}, {options.new} tokens, drafts of {options.drafts}, "
        f"{options.threads} threads\n\n| weights | draft | text | accepted per draft | calls | "
        "tokens/s | ratio | the same tokens |\n|---|---|---|---|---|---|---|---|"
    )
    seconds = {}
    for side, runs in rounds.items():
        for name, row in runs[0].items():
            draft, label = name.split(", ", 1)
            seconds[f"{side}: {name}"] = row["seconds"]
            ratio = runs[0][f"none, {label}"]["seconds"] / row["seconds"]
            counts = f"{row['accepted']:.2f} | {row['calls']}" if draft != "none" else " | "
            print(
                f"| {side} | {draft} | {label} | {counts} | {1 / row['seconds']:.1f} | "
                f"{ratio:.2f} | {'yes' if row['same'] else 'no'} |"
            )
    return {"model": options.model, "drafts": options.drafts, "seconds": seconds}
