"""GPT on several GPUs: tokens/s on 1 and on N cards, ours and PyTorch's, with the same batch each.

    python -m benchmarks scale --device cuda --ranks 2 --precision bfloat16 --against torch
    python -m benchmarks scale --device cuda --ranks 2 --scheme fsdp --model gpt2-large

Weak scaling: every rank has its own batch, so efficiency is (tokens/s on N cards) / (N times
tokens/s on one). Schemes: "ddp", DistributedDataParallel, ours in a CUDA graph; PyTorch's eager and
compiled; "trainer", the step of our Trainer, whose gradients are combined after the backward pass;
"fsdp", fully_shard of each block and of the model, in a CUDA graph and eager, against FSDP2. Each
side runs in fresh processes, which are killed after --limit seconds. NCCL's multicast (NVLS) stays
off. On N cards a side runs once for each size of buckets (--bucket-mb 25,100) and each limit of the
processors that an exchange may use (--max-ctas 0,8: NCCL_MAX_CTAS, 0 for NCCL's own).

"outside" is the share of a step that the exchange of gradients adds to one without it, the part
that does not overlap; "alone" is the time of the exchange by itself, in milliseconds.
"""

from __future__ import annotations

import argparse
import contextlib
import faulthandler
import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from typing import Any

from .configs import Config

MODELS = {
    "tiny": Config(97, 32, 32, 2, 2, 2),
    "gpt2": Config(50304, 1024, 768, 12, 12, 16),
    "gpt2-large": Config(50304, 1024, 1280, 20, 36, 8),
}
SIDES = {
    "ddp": ("ours", "ours-eager", "torch", "torch-compile"),
    "trainer": ("ours",),
    "fsdp": ("ours", "ours-eager", "torch"),
}
LIMIT = 100.0  # seconds for one side


def add_options(parser: argparse.ArgumentParser) -> None:
    """The options of a run on GPUs."""
    parser.add_argument("--scheme", choices=SIDES, default="ddp")
    parser.add_argument("--model", choices=MODELS, default="gpt2")
    parser.add_argument("--precision", choices=("float32", "bfloat16"), default="bfloat16")
    parser.add_argument("--ranks", type=int, default=2)
    parser.add_argument("--batch", type=int, help="rows of each rank")
    parser.add_argument("--steps", type=int, default=30)
    parser.add_argument("--limit", type=float, default=LIMIT)
    parser.add_argument("--against", choices=("torch",))
    parser.add_argument("--sides", help="names of sides, separated by commas")
    parser.add_argument("--cards", help="numbers of cards, such as 2, or 1,2 (1 and --ranks)")
    parser.add_argument(
        "--bucket-mb", default="", help="sizes of DDP's buckets, with commas; each library's own"
    )
    parser.add_argument("--max-ctas", default="0", help="limits of NCCL's blocks, with commas")
    parser.add_argument("--worker", help=argparse.SUPPRESS)
    parser.add_argument("--on-cpu", action="store_true", help=argparse.SUPPRESS)


# ------------------------------------------------------------------------------- in the processes
def config_of(options: argparse.Namespace) -> Config:
    """The model and its batch."""
    config = MODELS[options.model]
    return config._replace(batch_size=options.batch or config.batch_size)


def batch_of(torch: Any, config: Config, device: str, rank: int) -> tuple[Any, Any]:
    """Random tokens, other ones on each rank."""
    import numpy as np

    shape = config.batch_size, config.context_length + 1
    tokens = np.random.default_rng(rank).integers(0, config.vocab_size, shape)
    idx, targets = (torch.from_numpy(a.copy()).to(device) for a in (tokens[:, :-1], tokens[:, 1:]))
    return idx, targets


def of_side(options: argparse.Namespace, side: str, rank: int) -> tuple[Any, ...]:
    """(library, distributed, step, the step without an exchange or None, numbers) of a side."""
    if side.startswith("torch"):
        import torch
        import torch.distributed as dist

        from .torch_gpt import GPT

        def model_of(config: Config) -> Any:
            torch.manual_seed(0)
            return GPT(*config[:5])
    else:
        import tinygrad_llm as torch  # type: ignore[no-redef]
        import tinygrad_llm.distributed as dist  # type: ignore[no-redef]

        from .our_gpt import model_of  # type: ignore[assignment]
    device = "cpu" if options.on_cpu else "cuda"
    if not options.on_cpu:
        torch.cuda.set_device(rank)
    backend = "nccl" if not options.on_cpu else "gloo"
    dist.init_process_group(backend)
    config = config_of(options)
    model = model_of(config).to(device)
    numbers = sum(p.numel() for p in model.parameters())
    make = {"ddp": with_ddp, "trainer": with_trainer, "fsdp": with_fsdp}[options.scheme]
    loss, optimizer, reduce, quiet = make(torch, dist, model, side, options)
    idx, targets = batch_of(torch, config, device, rank)

    def autocast() -> Any:
        if options.precision == "bfloat16":
            return torch.autocast(device, dtype=torch.bfloat16)
        return contextlib.nullcontext()

    def step() -> Any:
        with autocast():
            value = loss(idx, targets)
        value.backward()
        reduce()
        optimizer.step()
        optimizer.zero_grad()
        return value.detach()

    def without() -> Any:
        with quiet():
            return step()

    return torch, dist, step, without if options.scheme == "ddp" else None, numbers


def with_ddp(torch: Any, dist: Any, model: Any, side: str, options: Any) -> tuple[Any, ...]:
    """Gradients averaged while backward runs."""
    from importlib import import_module

    parallel = import_module(f"{torch.__name__}.nn.parallel")

    class Loss(torch.nn.Module):  # type: ignore[misc, name-defined]
        def __init__(self) -> None:
            super().__init__()
            self.model = model

        def forward(self, idx: Any, targets: Any) -> Any:
            return self.model.loss(idx, targets)

    size = float(options.bucket_mb) if options.bucket_mb else None
    ddp = parallel.DistributedDataParallel(Loss(), bucket_cap_mb=size)
    fused = {"fused": True} if side.startswith("torch") else {}
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-4, **fused)
    loss = torch.compile(ddp) if side == "torch-compile" else ddp
    return loss, optimizer, lambda: None, ddp.no_sync


def with_trainer(torch: Any, dist: Any, model: Any, side: str, options: Any) -> tuple[Any, ...]:
    """Gradients combined after the backward pass, as our Trainer does."""
    from tinygrad_llm.training.ranks import reduce_over_ranks

    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-4)
    combine, count = reduce_over_ranks(), torch.tensor(1024).to(next(model.parameters()).device)
    return (
        model.loss, optimizer, lambda: combine(model.parameters(), count), contextlib.nullcontext
    )  # fmt: skip


def with_fsdp(torch: Any, dist: Any, model: Any, side: str, options: Any) -> tuple[Any, ...]:
    """Parameters, gradients and the optimizer's state divided among the ranks."""
    from importlib import import_module

    shard = import_module(f"{torch.__name__}.distributed.fsdp").fully_shard
    fused: dict[str, Any] = {}
    for each in model.blocks if side.startswith("torch") else model.trf_blocks:
        shard(each)
    shard(model)
    if side.startswith("torch"):
        fused = {"fused": True}
        fsdp = import_module("torch.distributed.fsdp")
        fsdp.register_fsdp_forward_method(model, "loss")
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-4, **fused)
    return model.loss, optimizer, lambda: None, contextlib.nullcontext


def exchange_alone(torch: Any, dist: Any, device: str, numbers: int) -> float:
    """Seconds of the sum of all gradients in float32, by itself."""
    x = torch.zeros(numbers, device=device)
    for _ in range(3):
        dist.all_reduce(x)
    float(x[0].item())
    start = time.perf_counter()
    for _ in range(5):
        dist.all_reduce(x)
    float(x[0].item())
    return (time.perf_counter() - start) / 5


def timed(step: Callable[[], Any], steps: int, warm_up: int) -> tuple[float, list[float]]:
    """Seconds per step (the least of three rounds), and losses."""
    losses = [float(step().item()) for _ in range(warm_up)]
    best = float("inf")
    for _ in range(3):
        start = time.perf_counter()
        for _ in range(max(1, steps // 3)):
            loss = step()
        losses.append(float(loss.item()))
        best = min(best, (time.perf_counter() - start) / max(1, steps // 3))
    return best, losses


def work(options: argparse.Namespace) -> None:
    """One rank of one side: rank 0 prints its figures as JSON."""
    side, rank = options.worker, int(os.environ["RANK"])
    faulthandler.dump_traceback_later(options.limit - 3, exit=True)  # where it hangs, if it does
    size = int(os.environ["WORLD_SIZE"])
    torch, dist, step, without, numbers = of_side(options, side, rank)
    graph = side == "ours" and not options.on_cpu
    run = torch.cuda.graphed(step) if graph else step
    seconds, losses = timed(run, options.steps, 6)
    result: dict[str, Any] = {"seconds": seconds, "losses": losses}
    if not options.on_cpu:
        result["reserved"] = torch.cuda.memory_reserved()
        torch.cuda.reset_peak_memory_stats()
        float(run().item())
        result["peak"] = torch.cuda.max_memory_allocated()
    if size > 1:
        if without is not None:
            again = torch.cuda.graphed(without) if graph else without
            result["without"], _ = timed(again, options.steps, 6)
        result["alone"] = exchange_alone(torch, dist, "cpu" if options.on_cpu else "cuda", numbers)
    if rank == 0:
        print("RESULT " + json.dumps(result), flush=True)
    dist.barrier()
    dist.destroy_process_group()


# --------------------------------------------------------------------------------- in the parent
def run_side(
    options: argparse.Namespace, side: str, ranks: int, bucket: str = "", ctas: str = "0"
) -> dict[str, Any]:
    """The figures of a side on some cards; {"error": text} if it failed or was too slow."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = str(probe.getsockname()[1])
    command = [
        sys.executable, "-m", "benchmarks.scale_gpu", "--worker", side, "--scheme", options.scheme,
        "--model", options.model, "--precision", options.precision, "--steps", str(options.steps),
        "--limit", str(options.limit), f"--bucket-mb={bucket}",
        *(["--batch", str(options.batch)] if options.batch else []),
        *(["--on-cpu"] if options.on_cpu else []),
    ]  # fmt: skip
    shared = {
        "WORLD_SIZE": str(ranks), "LOCAL_WORLD_SIZE": str(ranks), "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": port, "NCCL_NVLS_ENABLE": "0",
        **({"NCCL_MAX_CTAS": ctas} if ctas != "0" else {}),
    }  # fmt: skip
    for name in list(os.environ):
        if name.startswith(("PMI", "OMPI_", "SLURM_")):
            del os.environ[name]
    processes = [
        subprocess.Popen(
            command, env={**os.environ, **shared, "RANK": str(r), "LOCAL_RANK": str(r)},
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, start_new_session=True,
        )
        for r in range(ranks)
    ]  # fmt: skip
    until, texts = time.monotonic() + options.limit, []
    for process in processes:
        try:
            texts.append(process.communicate(timeout=max(until - time.monotonic(), 0.1))[0])
        except subprocess.TimeoutExpired:
            for each in processes:
                with contextlib.suppress(ProcessLookupError):
                    os.killpg(each.pid, signal.SIGKILL)
            texts.append(
                f"did not end within {options.limit:g} seconds\n" + process.communicate()[0]
            )
    for text in texts:
        for line in text.splitlines():
            if line.startswith("RESULT "):
                result: dict[str, Any] = json.loads(line.removeprefix("RESULT "))
                return result
    return {"error": "\n".join(text[-1500:] for text in texts)}


def row(side: str, ranks: int, got: dict[str, Any], one: dict[str, Any], tokens: int) -> str:
    """A line of the table."""
    if "error" in got:
        return f"{side:26}{ranks:6}  failed: {got['error']}"
    rate = ranks * tokens / got["seconds"]
    text = f"{side:26}{ranks:6}{got['seconds'] * 1e3:10.2f}{rate:12,.0f}"
    text += f"{one['seconds'] / got['seconds']:11.3f}" if "seconds" in one else f"{'-':>11}"
    if "without" in got:
        text += f"{1 - got['without'] / got['seconds']:9.1%}"
    else:
        text += f"{'-':>9}"
    text += f"{got['alone'] * 1e3:8.2f}" if "alone" in got else f"{'-':>8}"
    text += f"{got['peak'] / 1e9:9.2f}{got['reserved'] / 1e9:9.2f}" if "peak" in got else ""
    return text + f"   loss {got['losses'][0]:.4f} ... {got['losses'][-1]:.4f}"


def cards_of(options: argparse.Namespace) -> list[int]:
    """The numbers of cards, the smallest first."""
    return sorted({int(n) for n in (options.cards or f"1,{options.ranks}").split(",")})


def variants(options: argparse.Namespace) -> list[tuple[str, str]]:
    """(size of buckets, limit of blocks): the first of each, then one changed at a time."""
    buckets, ctas = options.bucket_mb.split(","), options.max_ctas.split(",")
    return [(buckets[0], c) for c in ctas] + [(b, ctas[0]) for b in buckets[1:]]


def main(options: argparse.Namespace) -> dict[str, Any]:
    """Run all sides and print the table; returns the figures."""
    sides = SIDES[options.scheme]
    if options.sides:
        sides = tuple(options.sides.split(","))
    elif options.against is None:
        sides = tuple(s for s in sides if not s.startswith("torch"))
    config = config_of(options)
    print(f"{options.scheme} of {options.model}, {options.precision}, {config.batch_size} rows of "
          f"{config.context_length} tokens per card", flush=True)  # fmt: skip
    print(f"{'':26}{'cards':>6}{'ms/step':>10}{'tokens/s':>12}{'efficiency':>11}{'outside':>9}"
          f"{'alone':>8}{'peak GB':>9}{'held GB':>9}", flush=True)  # fmt: skip
    summary: dict[str, Any] = {"config": options.model, "scheme": options.scheme}
    for side in sides:
        one: dict[str, Any] = {}
        for cards in cards_of(options):
            for bucket, ctas in variants(options) if cards > 1 else [("", "0")]:
                name = side + (f", {bucket} MB" if bucket else "")
                name += f", {ctas} CTAs" if ctas != "0" else ""
                got = summary[f"{name} on {cards}"] = run_side(options, side, cards, bucket, ctas)
                print(row(name, cards, got, one, config.n_tokens), flush=True)
                one = got if cards == 1 else one
    return summary


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    add_options(parser)
    parser.add_argument("--json", help="a file for the figures")
    given = parser.parse_args()
    if given.worker:
        work(given)
    else:
        figures = main(given)
        if given.json:
            with open(given.json, "w", encoding="utf-8") as file:
                json.dump(figures, file, indent=1)
