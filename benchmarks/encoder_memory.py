"""Peak memory of a training step of encoders: plain, and in the ways that save memory.

    python -m benchmarks encoder-memory                      # BERT, RoBERTa, DistilBERT, ModernBERT
    python -m benchmarks encoder-memory --models bert --emb-dim 768 --n-layers 12

A classifier of two classes reads random ids and takes two steps of AdamW. *Accumulation* reads four
quarters of the batch one after the other; *checkpointing* keeps each block's input and computes
the rest again; *bfloat16* rounds the inputs of the matrix products (autocast), which a CPU keeps
beside the float32 arrays and a GPU in their place; *LoRA* (rank 8) has no gradients and no AdamW
moments of the large matrices. The peak is that of all arrays together (tracemalloc), model and
optimizer too; every way has the same weights and the same texts.
"""

from __future__ import annotations

import time
import tracemalloc
from contextlib import nullcontext
from typing import Any

from . import common

MODELS = ("bert", "roberta", "distilbert", "modernbert")
WAYS: dict[str, dict[str, Any]] = {
    "plain": {},
    "accumulation 4": {"accumulation": 4},
    "checkpointing": {"checkpointing": True},
    "bfloat16": {"half": True},
    "LoRA": {"with_lora": True},
    "all but bfloat16": {"accumulation": 4, "checkpointing": True, "with_lora": True},
}


def classifier(name: str, sizes: dict[str, int]) -> Any:
    """A classifier of this family and size, without dropout, with its own random weights."""
    import tinygrad_llm as tg
    from tinygrad_llm.models import registry
    from tinygrad_llm.models.classifier import GPTClassifier

    tg.manual_seed(1)
    config = registry.masked()[name].presets["tiny"].resized(**sizes)
    encoder = registry.build_from(config.resized(**config.dropout(0.0)))
    return GPTClassifier(encoder, 2, pad_token_id=0)


def step_memory(
    model: Any, batch: int, tokens: int, accumulation: int = 1, checkpointing: bool = False,
    half: bool = False, with_lora: bool = False,
) -> dict[str, float]:  # fmt: skip
    """Peak bytes, seconds and loss of the second of two steps."""
    import tinygrad_llm as tg
    from tinygrad_llm.layers import lora

    if with_lora:
        lora.add(model, 8, 16.0, 0.0, ["*.att.*", "*.ff.*"], modules_to_save=["out_head"])
    if checkpointing:
        model.gradient_checkpointing_enable()
    trained = [p for p in model.parameters() if p.requires_grad]
    optimizer = tg.optim.AdamW(trained, lr=1e-4)
    tg.manual_seed(2)
    ids = tg.randint(2, model.config.model.vocab_size, (batch, tokens))  # (B, T)
    labels = tg.randint(0, 2, (batch,))  # (B)
    n, loss, seconds = batch // accumulation, 0.0, 0.0
    for _ in range(2):
        began, loss = time.perf_counter(), 0.0
        optimizer.zero_grad()
        for start in range(0, batch, n):
            rows = slice(start, start + n)
            with tg.autocast("cpu", dtype=tg.bfloat16) if half else nullcontext():
                part = model.loss(ids[rows], labels[rows]) * (1.0 / accumulation)
            part.backward()
            loss += part.item()
            del part
        optimizer.step()
        seconds = time.perf_counter() - began
    return {"peak": float(tracemalloc.get_traced_memory()[1]), "seconds": seconds, "loss": loss}


def measured(name: str, sizes: dict[str, int], batch: int, tokens: int) -> dict[str, Any]:
    """What step_memory measures in every way."""
    small = {**sizes, "emb_dim": 8 * sizes["n_heads"], "n_layers": 1}
    for options in WAYS.values():  # what is compiled and cached once is not counted
        step_memory(classifier(name, small), 4, min(tokens, 16), **options)
    rows = {}
    for way, options in WAYS.items():
        tracemalloc.start()
        rows[way] = step_memory(classifier(name, sizes), batch, tokens, **options)
        tracemalloc.stop()
    return rows


def main(argv: list[str]) -> dict[str, Any]:
    parser = common.parser("encoder-memory", __doc__)
    parser.add_argument("--models", default=",".join(MODELS))
    parser.add_argument("--emb-dim", type=int, default=256)
    parser.add_argument("--n-layers", type=int, default=4)
    parser.add_argument("--n-heads", type=int, default=4)
    parser.add_argument("--vocab-size", type=int, default=8000)
    parser.add_argument("--tokens", type=int, default=128, help="of a text")
    parser.add_argument("--batch", type=int, default=32, help="a multiple of 4")
    o = parser.parse_args(argv)
    sizes = {"vocab_size": o.vocab_size, "context_length": max(16, o.tokens), "emb_dim": o.emb_dim,
             "n_layers": o.n_layers, "n_heads": o.n_heads}  # fmt: skip
    shape = f"{o.n_layers} blocks, {o.emb_dim} channels, {o.batch} texts of {o.tokens} tokens"
    print(f"peak of two steps: {shape}\n")
    print("| model | way | MB | of plain | s per step | loss |\n|---|---|---|---|---|---|")
    results: dict[str, Any] = {}
    for name in o.models.split(","):
        results[name] = measured(name.strip(), sizes, o.batch, o.tokens)
        plain = results[name]["plain"]["peak"]
        for way, row in results[name].items():
            print(f"| {name} | {way} | {row['peak'] / 1e6:.0f} | {row['peak'] / plain:.2f} | "
                  f"{row['seconds']:.2f} | {row['loss']:.5f} |", flush=True)  # fmt: skip
    return {"shape": sizes, "rows": results}
