"""nanoGPT's example for a CPU, and its validation loss measured as nanoGPT measures it.

    python -m benchmarks nanogpt-cpu --seeds 5 --jobs 2

4 layers, 128 channels, 2,000 steps of 12 windows of 64 characters of Shakespeare, learning rate
0.001. nanoGPT reports 1.88: the mean of 20 batches of 12 windows at random places (eval_iters=20).
For each seed of weights and data order: the loss of the whole last tenth of the text, and --draws
of those estimates, of which one would be printed.
"""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np

from . import common, machine

BATCHES, PUBLISHED = 20, 1.88  # of an estimate; what nanoGPT's README says


def estimates(model: Any, ids: np.ndarray, batch: int, draws: int, seed: int) -> np.ndarray:
    """Losses of 20 batches of windows at random places, `draws` times: (draws)."""
    import tinygrad_llm as torch

    rng = np.random.default_rng(seed)
    T = model.config.context_length
    model.eval()
    losses = np.empty((draws, BATCHES))
    with torch.no_grad():
        for place in np.ndindex(losses.shape):
            starts = rng.integers(0, len(ids) - T, batch)
            rows = np.stack([ids[i : i + T + 1] for i in starts]).astype(np.int64)  # (B, T + 1)
            x, y = torch.from_numpy(rows[:, :-1].copy()), torch.from_numpy(rows[:, 1:].copy())
            losses[place] = model.loss(x, y).item()
    return losses.mean(1)  # (draws, BATCHES) -> (draws)


def trained(steps: int, draws: int, seed: int) -> dict[str, Any]:
    """One run: {"whole": its loss on the whole last tenth, "estimates": those of nanoGPT}."""
    from tinygrad_llm.training.presets import resolve
    from tinygrad_llm.training.pretraining import Pretraining

    given = {"preset": "nanogpt-char", "lr": 1e-3, "seed": seed, "steps": steps,
             "eval_every": steps, "sample_every": steps, "sample_tokens": 0}  # fmt: skip
    options = resolve(given, {})
    options.folder = None
    run = Pretraining(options, False)
    run.prepare()
    whole = run.complete(report=False).val_loss
    drawn = estimates(run.model, run.val_ids, options.batch_size, draws, seed)
    return {"seed": seed, "whole": whole, "estimates": drawn.tolist()}


def main(argv: list[str]) -> dict[str, Any]:
    from tinygrad_llm.training.scaling.processes import share

    parser = common.parser("nanogpt-cpu", __doc__)
    parser.add_argument("--seeds", type=common.whole_number(1), default=1)
    parser.add_argument(
        "--jobs", type=common.whole_number(1), default=1, help="processes of one thread"
    )
    parser.add_argument("--steps", type=common.whole_number(1), default=2000)
    parser.add_argument("--draws", type=common.whole_number(1), default=25)
    options = parser.parse_args(argv)
    print(machine.describe())
    print("\n| seed | whole last tenth | 20 random batches | one of these scatters by |\n"
          "|---|---|---|---|", flush=True)  # fmt: skip
    rows: list[dict[str, Any]] = []

    def add_row(seed: int, row: dict[str, Any]) -> None:
        rows.append(row)
        drawn = np.array(row["estimates"])
        print(f"| {seed} | {row['whole']:.4f} | {drawn.mean():.4f} | {drawn.std():.4f} |",
              flush=True)  # fmt: skip

    work = partial(trained, options.steps, options.draws)
    share(work, range(1, options.seeds + 1), options.jobs, add_row)
    whole = np.array([row["whole"] for row in rows])
    every = np.array([row["estimates"] for row in rows])
    print(f"\nmean of the seeds {whole.mean():.4f}, standard deviation {whole.std():.4f}; of all "
          f"{every.size} estimates {np.mean(every <= PUBLISHED):.0%} are {PUBLISHED} or less "
          f"(from {every.min():.3f} to {every.max():.3f})")  # fmt: skip
    return {"machine": {"text": machine.describe()}, "rows": rows}
