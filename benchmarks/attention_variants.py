"""Small GPTs that differ in one part, trained side by side on one text: loss, speed, memory.

    python -m benchmarks attention-variants
    python -m benchmarks attention-variants --only mha,gqa,rotary --steps 1000

Every model has the same seed, batches, width and depth, and runs in another process. The loss is
that of validation, in nats per token; `peak` is the most that the process has held (resident), or
on a GPU the most that was allocated there. The text is tinyshakespeare where it is (see
data/corpora.py), otherwise Python's language reference.
"""

from __future__ import annotations

import json
import statistics
import time
from typing import Any

from . import common, machine

SHAPE = {"context_length": 64, "emb_dim": 96, "n_heads": 6, "n_layers": 4, "drop_rate": 0.0}
BATCH, LR, SEED = 12, 3e-3, 1
VARIANTS: dict[str, dict[str, Any]] = {
    "mha": {},
    "gqa": {"attention": "gqa", "n_kv_heads": 2},
    "mqa": {"attention": "mqa"},
    "swa": {"attention": "swa", "window": 16, "ratio": 3},
    "mla": {"attention": "mla", "latent_dim": 24},
    "mla, rotary": {"attention": "mla", "latent_dim": 24, "positions": "rotary", "rope_dim": 8},
    "sparse": {"attention": "sparse", "latent_dim": 24, "window": 16},
    "linear": {"attention": "linear"},
    "mamba": {"attention": "mamba", "positions": "none"},
    "deltanet": {"attention": "deltanet"},
    "deltanet 3:1": {"attention": "deltanet", "ratio": 3},
    "moe": {"feed_forward": "moe", "n_experts": 8, "n_experts_per_token": 2, "expert_dim": 192},
    "sinusoidal": {"positions": "sinusoidal"},
    "rotary": {"positions": "rotary"},
    "alibi": {"positions": "alibi"},
    "t5": {"positions": "t5"},
    "none": {"positions": "none"},
}


def text_of(name: str | None) -> tuple[str, str]:
    """(the text, its name): the named one, or the first of two that is here."""
    from tinygrad_llm.data import corpora
    from tinygrad_llm.files.downloads import DownloadError

    for each in [name] if name else ["tinyshakespeare", corpora.DEFAULT]:
        try:
            corpus = corpora.load(each)
            return corpus.text, corpus.name
        except DownloadError:
            if name:
                raise
    raise SystemExit("no text is here: name one with --text")


def train(variant: str, steps: int, text: str | None, device: str) -> dict[str, Any]:
    """What one model reached and took, in this process."""
    from tinygrad_llm import cuda, optim, random
    from tinygrad_llm.data.batches import EvaluationBatches, TokenBatches
    from tinygrad_llm.models import GPT, GPTConfig
    from tinygrad_llm.models.estimate import estimate
    from tinygrad_llm.optim.lr_scheduler import WarmupCosineLR
    from tinygrad_llm.text import CharTokenizer
    from tinygrad_llm.training.step import evaluate, to_device_of

    characters, name = text_of(text)
    tokenizer = CharTokenizer.train(characters)
    ids = tokenizer.encode_to_array(characters)
    cut, T = int(len(ids) * 0.9), SHAPE["context_length"]
    random.manual_seed(SEED)
    config = GPTConfig(vocab_size=tokenizer.vocab_size, **{**SHAPE, **VARIANTS[variant]})
    model = GPT(config).to(device)
    on_gpu = device.startswith("cuda")
    optimizer = optim.AdamW(model.parameters(), lr=LR, betas=(0.9, 0.99), weight_decay=0.1)
    schedule = WarmupCosineLR(optimizer, steps // 20, steps, LR / 10)
    batches = iter(TokenBatches(ids[:cut], BATCH, T, seed=SEED))
    times = []
    for _ in range(steps):
        inputs, targets = to_device_of(model, next(batches))
        start = time.perf_counter()
        optimizer.zero_grad()
        model.loss(inputs, targets).backward()
        optimizer.step()
        schedule.step()
        if on_gpu:
            cuda.synchronize()
        times.append(time.perf_counter() - start)
    validation = EvaluationBatches(ids[cut : cut + 16 * 1024], BATCH, T)
    costs = estimate(config)
    return {
        "loss": evaluate(model, validation)[0], "seconds": statistics.median(times),
        "tokens_per_second": BATCH * T / statistics.median(times),
        "parameters": costs.parameters, "weights": costs.weight_bytes, "cache": costs.cache_bytes,
        "flops": costs.training_flops * BATCH, "text": name,
        "peak": cuda.max_memory_allocated() if on_gpu else machine.peak_memory(),
    }  # fmt: skip


def table(rows: dict[str, dict[str, Any]]) -> str:
    """The results in Markdown."""
    lines = [
        "| model | parameters | loss | tokens/s | weights | cache of a text | GFLOPs/step | peak |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for name, r in rows.items():
        lines.append(
            f"| {name} | {r['parameters']:,} | {r['loss']:.3f} | {r['tokens_per_second']:,.0f} | "
            f"{r['weights'] / 1e6:.2f} MB | {r['cache'] / 1e3:,.0f} kB | {r['flops'] / 1e9:.1f} | "
            f"{r['peak'] / 1e6:,.0f} MB |"
        )
    return "\n".join(lines)


def main(argv: list[str]) -> dict[str, Any] | None:
    parser = common.parser("attention-variants", __doc__)
    parser.add_argument("--only", help=f"some of {', '.join(VARIANTS)}, with commas")
    parser.add_argument("--steps", type=int, default=300, help="of training, for each model")
    parser.add_argument("--text", help="a data set or a file")
    parser.add_argument("--device", default="cpu", help="cpu or cuda")
    parser.add_argument("--threads", type=int, default=None)
    parser.add_argument("--train", choices=VARIANTS, help="train one model in this process")
    options = parser.parse_args(argv)
    if options.train:
        print(json.dumps(train(options.train, options.steps, options.text, options.device)))
        return None
    names = [n.strip() for n in options.only.split(",")] if options.only else list(VARIANTS)
    unknown = [n for n in names if n not in VARIANTS]
    if unknown:
        raise SystemExit(f"unknown: {', '.join(unknown)}; there are {', '.join(VARIANTS)}")
    text = ["--text", options.text] if options.text else []
    rows: dict[str, dict[str, Any]] = {}
    for name in names:
        rows[name] = machine.run_child(
            "benchmarks", "attention-variants", "--train", name, "--steps", options.steps,
            "--device", options.device, *text, threads=options.threads,
        )  # fmt: skip
        print(f"{name:14} loss {rows[name]['loss']:.3f}", flush=True)
    print(machine.run_child("benchmarks.machine", threads=options.threads)["text"])
    print(f"{options.steps} steps of {BATCH} x {SHAPE['context_length']} characters of "
          f"{rows[names[0]]['text']}\n\n{table(rows)}")  # fmt: skip
    return {"rows": rows, "seconds": {name: row["seconds"] for name, row in rows.items()}}
