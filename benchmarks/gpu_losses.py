"""300 training steps of a small GPT on a text's characters: a CPU against a GPU's precisions.

    python -m benchmarks gpu-losses --picture tests/gpu_losses.png

All runs have the same initial weights and batches, so their losses should be those of the CPU's
float32 run. Printed are the largest and the mean distance to it and the mean of the last 50 losses.
"""

from __future__ import annotations

import argparse
import json

RUNS = ("cpu", "float32", "tf32", "bfloat16")
CONTEXT, BATCH = 128, 16


def losses(run: str, text: str, steps: int) -> list[float]:
    """The loss of each step; run is "cpu" or a precision on the GPU."""
    import numpy as np

    import tinygrad_llm as torch
    from tinygrad_llm.models.gpt import GPT, GPTConfig

    letters = sorted(set(text))
    ids = np.array([letters.index(c) for c in text], np.int64)
    device = "cpu" if run == "cpu" else "cuda"
    torch.manual_seed(0)
    torch.backends.cuda.matmul.allow_tf32 = run == "tf32"
    model = GPT(GPTConfig(len(letters), CONTEXT, 192, 6, 4, drop_rate=0.0)).to(device)
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3)
    draw = np.random.default_rng(0)
    curve = []
    for _ in range(steps):
        starts = draw.integers(0, len(ids) - CONTEXT - 1, BATCH)
        x, y = (np.stack([ids[i + s : i + s + CONTEXT] for i in starts]) for s in (0, 1))
        idx, targets = torch.from_numpy(x).to(device), torch.from_numpy(y).to(device)
        with torch.autocast("cuda", enabled=run == "bfloat16"):
            loss = model.loss(idx, targets)
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        curve.append(loss.detach())
    return [loss.item() for loss in curve]  # waits for the GPU once, here


def draw(curves: dict[str, list[float]], file: str) -> None:
    """Draw the losses, and below them their distances to the CPU's."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    figure, (above, below) = plt.subplots(
        2, 1, figsize=(8, 7), sharex=True, height_ratios=(2, 1), layout="constrained"
    )
    styles = {"cpu": ("black", "-", 3.0), "float32": ("tab:blue", "-", 1.6),
              "tf32": ("tab:orange", "--", 1.4), "bfloat16": ("tab:green", ":", 1.8)}  # fmt: skip
    for run, curve in curves.items():
        color, line, width = styles[run]
        label = "CPU, float32" if run == "cpu" else f"GPU, {run}"
        above.plot(curve, line, color=color, linewidth=width, label=label)
        if run != "cpu":
            distance = [abs(a - b) for a, b in zip(curve, curves["cpu"], strict=True)]
            below.semilogy(distance, line, color=color, linewidth=width, label=label)
    above.set(ylabel="loss (nats per character)", title="The same training on a CPU and on a GPU")
    below.set(xlabel="step", ylabel="distance to the CPU's loss")
    for axes in (above, below):
        axes.grid(alpha=0.3)
    above.legend()  # the colours below are the same
    figure.savefig(file, dpi=110)


def main(argv: list[str]) -> None:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks gpu-losses", description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )  # fmt: skip
    parser.add_argument("--steps", type=int, default=300)
    parser.add_argument("--text", metavar="FILE", help="instead of the corpus tinyshakespeare")
    parser.add_argument("--picture", metavar="FILE")
    parser.add_argument("--json", metavar="FILE", help="write the losses")
    parser.add_argument("--draw-only", action="store_true", help="take the losses from --json")
    options = parser.parse_args(argv)
    if options.draw_only:
        with open(options.json, encoding="utf-8") as file:
            curves = json.load(file)
    else:
        from tinygrad_llm.data import corpora

        name = options.text or corpora.path("tinyshakespeare")
        with open(name, encoding="utf-8") as file:
            text = file.read()
        curves = {run: losses(run, text, options.steps) for run in RUNS}
        if options.json:
            with open(options.json, "w", encoding="utf-8") as file:
                json.dump(curves, file)
    base = curves["cpu"]
    print(f"{'':10}{'first':>9}{'last 50':>9}{'mean distance':>15}{'largest':>10}")
    for run, curve in curves.items():
        distance = [abs(a - b) for a, b in zip(curve, base, strict=True)]
        print(f"{run:10}{curve[0]:9.4f}{sum(curve[-50:]) / len(curve[-50:]):9.4f}"
              f"{sum(distance) / len(distance):15.5f}{max(distance):10.5f}")  # fmt: skip
    if options.picture:
        draw(curves, options.picture)


if __name__ == "__main__":
    import sys

    main(sys.argv[1:])
