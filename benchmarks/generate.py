"""Tokens/s with the KV cache, greedy, ours and PyTorch eager's alternately, in fresh processes.

    python -m benchmarks generate --config gpt2

Both have the same weights and must write the same tokens. Ours is `generation.generate`; PyTorch
runs the same model with a cache that is allocated once, inference_mode and its own attention. The
time of the first token includes the prompt; the rate is that of the tokens after it. `weights read`
is the rate in bytes: every weight is read once per step. `of memory` is its share of the memory's
bandwidth, which a copy of 128 MB on every core measures here; weights in a cache exceed it.
"""

from __future__ import annotations

import json
import statistics
import time
import zlib
from collections.abc import Callable, Iterator
from typing import Any

from . import common, machine
from .configs import CONFIGS, Config

PLACES = {  # our names: PyTorch's
    "tok_emb": "tokens", "pos_emb": "positions", "trf_blocks": "blocks", "final_norm": "norm",
    "att.qkv": "qkv", "att.out_proj": "out", "ff.layers.0": "up", "ff.layers.2": "down",
}  # fmt: skip


def weight(name: str, shape: tuple[int, ...]) -> Any:
    """The weight that both sides have under a name; the seed is the name itself."""
    import numpy as np

    if name.endswith("bias"):
        return np.zeros(shape, np.float32)
    if "norm" in name:
        return np.ones(shape, np.float32)
    drawn = np.random.default_rng(zlib.crc32(name.encode())).standard_normal(shape, np.float32)
    return drawn * np.float32(0.06)


def ours(config: Config) -> Callable[[Any, int], Iterator[Any]]:
    """A function (prompt, new) that yields the ids of each step, by tinygrad_llm."""
    from tinygrad_llm.generation import generate_steps

    from .our_gpt import model_of

    model = model_of(config).eval()
    for name, p in model.named_parameters():
        for here, there in PLACES.items():
            name = name.replace(here, there)
        p.array[...] = weight(name, p.array.shape)
    return lambda prompt, new: (ids.array for ids in generate_steps(model, prompt.tolist(), new))


def pytorch(config: Config) -> Callable[[Any, int], Iterator[Any]]:
    """The same by PyTorch."""
    import torch

    from .torch_cache import generate_steps
    from .torch_gpt import GPT

    model = GPT(*config[:5]).eval()
    for name, p in model.named_parameters():
        p.data.copy_(torch.from_numpy(weight(name, tuple(p.shape))))
    return lambda prompt, new: (
        ids.numpy() for ids in generate_steps(model, torch.from_numpy(prompt), new)
    )


def measure(side: str, config: str, batches: list[int], prompt: int, new: int) -> dict[str, Any]:
    """For each batch size the seconds of the first token, of each later one, and the tokens."""
    import numpy as np

    sizes = CONFIGS[config]._replace(context_length=prompt + new)
    run = (ours if side == "ours" else pytorch)(sizes)
    measured = {}
    for batch in batches:
        ids = np.random.default_rng(1).integers(0, sizes.vocab_size, (batch, prompt))
        for _ in run(ids, min(8, new)):  # warm up
            pass
        clock, tokens = [time.perf_counter()], []
        for row in run(ids, new):
            clock.append(time.perf_counter())
            tokens.append(row.tolist())
        spent = np.diff(clock).tolist()
        measured[str(batch)] = {"first": spent[0], "later": spent[1:], "tokens": tokens}
    from tinygrad_llm.arrays.parallel import thread_count
    from tinygrad_llm.study.doctor.child import bandwidth

    peak = machine.peak_memory()
    return {"batches": measured, "peak": peak, "bandwidth": bandwidth(thread_count())}


def main(argv: list[str]) -> dict[str, Any] | None:
    parser = common.parser("generate", __doc__)
    parser.add_argument("--config", choices=CONFIGS, default="char")
    parser.add_argument("--batch", type=int, nargs="+", default=[1, 8])
    parser.add_argument("--prompt", type=int, default=32, help="tokens of the prompt")
    parser.add_argument("--new", type=int, default=128, help="tokens to write")
    common.two_sides(parser)
    options = parser.parse_args(argv)
    for name, least in (("prompt", 1), ("new", 2), ("rounds", 1)):
        if getattr(options, name) < least:
            parser.error(f"--{name} must be at least {least}")
    if min(options.batch) < 1:
        parser.error("--batch must be at least 1")
    args = (options.config, options.batch, options.prompt, options.new)
    if options.side:
        print(json.dumps(measure(options.side, *args)))
        return None
    here = machine.run_child("benchmarks.machine", threads=options.threads)
    print(here["text"])
    rounds = common.run_sides(
        "generate", common.sides_of(options), options.rounds, "--config", options.config,
        "--prompt", options.prompt, "--new", options.new, "--batch", *options.batch,
        threads=options.threads,
    )  # fmt: skip
    return summary_of(options, rounds, here)


def summary_of(options: Any, rounds: dict[str, list], here: Any) -> dict[str, Any]:
    """Medians, printed: first token, tokens/s, ratio, whether the tokens agree."""
    config, sides = CONFIGS[options.config], list(rounds)
    c = config.emb_dim
    read = 4 * (config.n_layers * 12 * c * c + config.vocab_size * c)  # bytes of weights per step
    print(
        f"\n{options.config}: {options.new} tokens after a prompt of {options.prompt}, greedy\n\n"
        f"{'batch':>5}  {'':6}{'first token':>13}{'ms/token':>12}{'tokens/s':>10}"
        f"{'weights read':>14}{'of memory':>11}{'ratio':>8}"
    )
    bandwidth = max(r["bandwidth"] for side in sides for r in rounds[side])  # GB/s
    batches: dict[str, Any] = {}
    for batch in map(str, options.batch):
        row: dict[str, Any] = {}
        for side in sides:
            runs = [r["batches"][batch] for r in rounds[side]]
            step = statistics.median(t for run in runs for t in run["later"])
            row[side] = {
                "first": statistics.median(run["first"] for run in runs), "step": step,
                "tokens_per_second": int(batch) / step, "share": read / step / 1e9 / bandwidth,
            }  # fmt: skip
            ratio = f"{row[side]['step'] / row['ours']['step']:8.2f}"
            print(
                f"{batch:>5}  {side:6}{row[side]['first'] * 1e3:10.1f} ms{step * 1e3:12.2f}"
                f"{int(batch) / step:10.1f}{read / step / 1e9:9.1f} GB/s"
                f"{row[side]['share']:10.0%} {ratio}"
            )
        batches[batch] = row
        if len(sides) == 2:
            row["ratio"] = row["torch"]["step"] / row["ours"]["step"]
            first = [rounds[side][0]["batches"][batch]["tokens"] for side in sides]
            row["same_tokens"] = first[0] == first[1]
            if not row["same_tokens"]:
                at = next(i for i, (a, b) in enumerate(zip(*first, strict=True)) if a != b)
                print(f"       the tokens differ from number {at + 1} on: two logits were close")
    if len(sides) == 2:
        if all(row["same_tokens"] for row in batches.values()):
            print("\nboth wrote the same tokens")
        print("ratio: PyTorch's time over ours; above 1 ours is faster")
    seconds = {f"{side}: a token, batch {b}": batches[b][side]["step"]
               for b in batches for side in sides}  # fmt: skip
    return {"config": options.config, "machine": here, "batches": batches, "seconds": seconds,
            "bandwidth": bandwidth}  # fmt: skip
