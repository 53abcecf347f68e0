"""Distillation on the 81 sums, from a teacher that knows all of them: the table of REASONING.md.

    python -m benchmarks distillation                       # teacher and six students, seed 123
    python -m benchmarks distillation --seed 1 --only hard

The teacher has 2 layers and 64 channels and is trained on all 81 answers until it has them right;
a student has 1 layer and 32 channels and begins with 30 steps on half of the answers.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from pathlib import Path
from typing import Any

from . import common

# by name: options of finetune distill
STUDENTS: dict[str, dict[str, Any]] = {
    "on-policy, forward KL, all batches its own, 20 epochs": {
        "kind": "on-policy", "own_share": 1.0, "epochs": 20.0,
    },
    "on-policy, forward KL, a half its own": {"kind": "on-policy"},
    "on-policy, reverse KL, a half its own": {"kind": "on-policy", "direction": "reverse"},
    "hard": {"kind": "hard"},
    "soft, forward KL": {"kind": "soft"},
    "soft, reverse KL": {"kind": "soft", "direction": "reverse"},
}  # fmt: skip
SMALL = {"n_layers": 1, "emb_dim": 32, "start_steps": 30}
# One step of rewards that changes nothing: where all answers are right it would only disturb them
HELD = {"steps": 1, "lr": 1e-9, "min_lr": 1e-9}


def run_of(command: Any, folder: Path, **options: Any) -> dict[str, Any]:
    """The test.json of a whole run of a command with these options."""
    from tinygrad_llm.training.settings import resolved

    command(resolved(command.options, {**options, "folder": str(folder)}), False).run()
    scores: dict[str, Any] = json.loads((folder / "test.json").read_text("utf-8"))
    return scores


def interval(three: list[float]) -> str:
    return f"{three[0]:.3f} [{three[1]:.3f}, {three[2]:.3f}]"


def main(argv: list[str]) -> dict[str, Any] | None:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks distillation", parents=[common.options()]
    )
    parser.add_argument("--seed", type=int, default=123)
    parser.add_argument("--only", help="students whose name begins so")
    chosen = parser.parse_args(argv)

    from tinygrad_llm.finetune.runs import GRPO, Distill

    rows: dict[str, Any] = {}
    with tempfile.TemporaryDirectory() as place:
        teacher = Path(place) / "teacher"
        known = run_of(GRPO, teacher, start_share=1.0, start_steps=400, seed=chosen.seed, **HELD)
        if known["after"][0] < 1.0:
            raise SystemExit(f"the teacher has {known['after'][0]:.3f} right, not all 81")
        for i, (name, options) in enumerate(STUDENTS.items()):
            if chosen.only and not name.startswith(chosen.only):
                continue
            begin, processor = time.perf_counter(), time.process_time()
            scores = run_of(
                Distill, Path(place) / str(i), data="sums", teacher=str(teacher),
                seed=chosen.seed, **SMALL, **options,
            )  # fmt: skip
            rows[name] = {
                **scores, "clock": time.perf_counter() - begin,
                "processor": time.process_time() - processor,
            }  # fmt: skip
    print(f"\nseed {chosen.seed}; teacher right in all 81\n\n| student | before | after | gain, "
          "paired | tokens of an answer, before and after | clock | processor |\n"
          + "|---" * 7 + "|")  # fmt: skip
    for name, row in rows.items():
        cells = [interval(row[key]) for key in ("before", "after", "difference")]
        lengths = ", ".join(f"{row['lengths'][when]['mean']:.1f}" for when in ("before", "after"))
        print(f"| {name} | {' | '.join(cells)} | {lengths} | {row['clock']:.0f} s | "
              f"{row['processor']:.0f} s |")  # fmt: skip
    return {"seed": chosen.seed, "students": rows}
