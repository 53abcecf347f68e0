"""µP: the loss of GPTs of several widths by the learning rate, with its rules and without them.

    python -m benchmarks mup --picture mup.png

The models have 2 layers and heads of 16 channels, and read the same windows of Shakespeare's
characters. With µP (models/mup.py, base 128) one rate is the best for all, without it the
best rate falls as the width grows. The loss is the mean over the last tenth of the steps.
"""

from __future__ import annotations

import math
import time
from typing import Any

from . import common, machine
from .attention_variants import text_of

WIDTHS, BASE, HEAD = (32, 64, 128, 256), 128, 16
RATES = [2.0**-k for k in range(11, 3, -1)]
T, BATCH, SEED = 32, 16, 1


def train(ids: Any, vocab_size: int, width: int, rate: float, mup: bool, steps: int) -> float:
    """The mean loss of the last tenth of the steps; infinite if it is not a number."""
    import tinygrad_llm as torch
    from tinygrad_llm.data.batches import TokenBatches
    from tinygrad_llm.models import GPT, GPTConfig
    from tinygrad_llm.optim.lr_scheduler import WarmupStableDecayLR
    from tinygrad_llm.training.autopsy import NonFiniteError
    from tinygrad_llm.training.loop import Trainer
    from tinygrad_llm.training.weight_decay import make_optimizer

    torch.manual_seed(SEED)
    base = BASE if mup else None
    model = GPT(GPTConfig(vocab_size, T, width, width // HEAD, 2, drop_rate=0.0, mup_base=base))
    made = make_optimizer("adamw", model, "none", lr=rate, betas=(0.9, 0.99), weight_decay=0.0)
    batches = TokenBatches(ids, BATCH, T, seed=SEED)
    schedule = WarmupStableDecayLR(made, steps // 10, steps, 0)
    trainer = Trainer(model, made, batches, steps=steps, scheduler=schedule, progress=False)
    losses = []
    try:
        for _ in range(steps):
            trainer._train_step()
            losses.append(trainer.last_loss)
    except NonFiniteError:
        return math.inf
    last = losses[-max(1, steps // 10) :]
    return sum(last) / len(last)


def main(argv: list[str]) -> dict[str, Any]:
    parser = common.parser("mup", __doc__)
    parser.add_argument("--steps", type=int, default=120)
    parser.add_argument("--text", help="a data set or a file")
    options = parser.parse_args(argv)
    if options.steps < 1:
        parser.error(f"--steps must be 1 or more, got {options.steps}")
    from tinygrad_llm.text import CharTokenizer

    print(machine.describe())
    text, name = text_of(options.text)
    tokenizer = CharTokenizer.train(text)
    ids = tokenizer.encode_to_array(text)
    began = time.process_time()
    losses: dict[str, dict[str, list[float]]] = {"standard": {}, "µP": {}}
    print(f"\n{name}\n{'':22}" + "".join(f"{f'2^{math.log2(r):g}':>8}" for r in RATES) + "    best")
    for kind, rows in losses.items():
        for width in WIDTHS:
            if kind == "µP" and width == BASE:  # the same model
                row = losses["standard"][str(width)]
            else:
                row = [train(ids, tokenizer.vocab_size, width, rate, kind == "µP", options.steps)
                       for rate in RATES]  # fmt: skip
            rows[str(width)] = row
            best = math.log2(RATES[row.index(min(row))])
            print(f"{kind:10}{width:>5} channels" + "".join(f"{x:8.3f}" for x in row)
                  + f"    2^{best:g}", flush=True)  # fmt: skip
    seconds = time.process_time() - began
    print(f"{seconds:,.0f} seconds of processor time")
    return {"machine": {"text": machine.describe()}, "losses": losses, "rates": RATES,
            "processor_seconds": seconds}  # fmt: skip
