"""The ladder of training ideas: what each brings a small GPT, alone and on top of the others.

    python -m benchmarks training-ladder                  every idea, on Shakespeare's characters
    python -m benchmarks training-ladder --only rms,muon --steps 100
    python -m benchmarks training-ladder --rates          learning rates, tried on another seed

Every run has the same seed, text, and windows in the same order. A run at equal tokens reads as
many windows as the plain one; at equal time it has the processor seconds of the plain one, by the
cost of a step as measured before (least of several, the recipes alternately). The loss is that of
validation in nats per character, with the 95 % interval over windows; differences are paired. With
--state FILE a run that was stopped continues. LADDER.md has the results.
"""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from . import common, machine
from .attention_variants import text_of

SHAPE = {"context_length": 64, "emb_dim": 96, "n_heads": 4, "n_layers": 3, "drop_rate": 0.0}
BATCH, WINDOWS, SEED = 16, 480, 1  # windows: of the validation text
PLAIN: dict[str, Any] = {
    "lr": 8e-3, "schedule": "constant", "optimizer": "adamw", "groups": False, "accumulation": 1,
    "batch_ramp": 0.0, "ema": None, "init": "torch", "tie_weights": False,
}  # fmt: skip


class Rung(NamedTuple):
    """An idea: what it changes; climbs: whether it is on the ladder, or only measured alone."""

    what: str
    changes: dict[str, Any]
    climbs: bool = True


RUNGS: dict[str, Rung] = {
    "cosine": Rung("warm-up and cosine", {"schedule": "cosine", "lr": 1.2e-2}),
    "wsd": Rung("WSD in place of cosine", {"schedule": "wsd", "lr": 1.2e-2}),
    "groups": Rung("no weight decay of biases and norms", {"groups": True}),
    "init": Rung("GPT-2's initialisation", {"init": "gpt2"}),
    "tying": Rung("output layer tied to the embedding", {"tie_weights": True}),
    "rms": Rung("RMSNorm", {"norm": "rms"}),
    "rotary": Rung("rotary positions", {"positions": "rotary"}),
    "qk-norm": Rung("qk-norm", {"qk_norm": True}),
    "relu2": Rung("ReLU²", {"feed_forward": "relu2"}),
    "values": Rung("value embeddings", {"value_embeddings": True}),
    "softcap": Rung("logit soft cap 15", {"logit_softcap": 15.0}),
    "zero": Rung("zero-initialised projections", {"init": "zero"}),
    "muon": Rung("Muon", {"optimizer": "muon", "groups": True, "lr": 8e-3}),
    "ramp": Rung("batch ramp, 4 to 16 windows", {"batch_ramp": 0.5, "accumulation": 4}),
    "ema": Rung("EMA 0.98 of the weights", {"ema": 0.98}),
    "normal": Rung("all weights normal(0, 0.02)", {"init": "normal"}, False),
    "swiglu": Rung("SwiGLU", {"feed_forward": "swiglu"}, False),
    "lion": Rung("Lion", {"optimizer": "lion", "groups": True, "lr": 2e-3}, False),
    "adafactor": Rung("Adafactor", {"optimizer": "adafactor", "groups": True, "lr": 3e-2}, False),
    "free": Rung("Schedule-Free AdamW", {"optimizer": "schedule-free", "groups": True,
                                         "lr": 1e-2}, False),
}  # fmt: skip
RATES = {
    "plain": (1e-3, 2e-3, 4e-3, 8e-3, 1.6e-2), "cosine": (3e-3, 6e-3, 1.2e-2, 2.4e-2, 4.8e-2),
    "wsd": (3e-3, 6e-3, 1.2e-2, 2.4e-2, 4.8e-2), "muon": (2e-3, 4e-3, 8e-3, 1.6e-2),
    "lion": (3e-4, 1e-3, 2e-3, 4e-3, 8e-3), "adafactor": (1e-2, 3e-2, 6e-2),
    "free": (5e-3, 1e-2, 2e-2),
}  # fmt: skip


def recipes(only: list[str]) -> dict[str, dict[str, Any]]:
    """The settings of each run: "plain", "alone: X", and "up to X" with all rungs before."""
    made = {"plain": PLAIN}
    for name in only:
        made[f"alone: {name}"] = {**PLAIN, **RUNGS[name].changes}
    here = dict(PLAIN)
    for name in (n for n in only if RUNGS[n].climbs):
        here |= RUNGS[name].changes
        made[f"up to {name}"] = dict(here)
    return made


class Text(NamedTuple):
    """The characters of a text as numbers: for training, and windows (N, T) for validation."""

    name: str
    vocab_size: int
    train: np.ndarray
    inputs: np.ndarray
    targets: np.ndarray


def read(name: str | None) -> Text:
    """The first nine tenths are for training; of the rest some windows, evenly spread."""
    from tinygrad_llm.text import CharTokenizer

    text, name = text_of(name)
    tokenizer = CharTokenizer.train(text)
    ids = tokenizer.encode_to_array(text)
    cut, T = round(0.9 * len(ids)), SHAPE["context_length"]
    held = np.asarray(ids[cut:], np.int64)
    starts = np.linspace(0, len(held) - T - 1, WINDOWS).astype(int)[:, None] + np.arange(T)
    return Text(name, tokenizer.vocab_size, ids[:cut], held[starts], held[starts + 1])


# ------------------------------------------------------------------------------------- one run
def steps_for(recipe: dict[str, Any], batches: float) -> int:
    """Steps that read about so many batches of BATCH windows; more of them with a ramp."""
    n, ramp = recipe["accumulation"], recipe["batch_ramp"]
    mean = 1.0 - ramp * (n - 1) / (2 * n)  # of a step's windows, relative to BATCH
    return max(10, round(batches / mean))


def trainer_of(recipe: dict[str, Any], text: Text, steps: int, seed: int) -> Any:
    """A Trainer of the recipe, with a new model."""
    import tinygrad_llm as torch
    from tinygrad_llm import optim
    from tinygrad_llm.data.batches import TokenBatches
    from tinygrad_llm.models import GPT, GPTConfig
    from tinygrad_llm.optim.lr_scheduler import WarmupCosineLR, WarmupStableDecayLR
    from tinygrad_llm.training import Trainer
    from tinygrad_llm.training.weight_decay import make_optimizer

    r = dict(recipe)
    lr, kind = r.pop("lr"), r.pop("schedule")
    optimizer, groups = r.pop("optimizer"), r.pop("groups")
    own = {name: r.pop(name) for name in ("accumulation", "batch_ramp", "ema")}
    torch.manual_seed(seed)
    model = GPT(GPTConfig(vocab_size=text.vocab_size, **SHAPE, **r))
    betas, decay = (0.9, 0.99), 0.1
    if groups:
        made = make_optimizer(optimizer, model, "none", lr=lr, betas=betas, weight_decay=decay)
    else:
        made = optim.AdamW(model.parameters(), lr=lr, betas=betas, weight_decay=decay)
    warmup = 0 if kind == "constant" else steps // 10
    schedule: Any = WarmupStableDecayLR(
        made, warmup, steps, steps // 5 if kind == "wsd" else 0, lr / 10
    )
    if kind == "cosine":
        schedule = WarmupCosineLR(made, warmup, steps, lr / 10)
    windows = BATCH // own["accumulation"]
    batches = TokenBatches(text.train, windows, SHAPE["context_length"], seed=seed)
    return Trainer(model, made, batches, steps=steps, scheduler=schedule, progress=False, **own)


def losses_of(model: Any, text: Text) -> np.ndarray:
    """The mean loss of each window of the validation text: (N)."""
    import tinygrad_llm as torch
    from tinygrad_llm.nn import functional as F

    model.eval()
    parts = []
    with torch.no_grad():
        for start in range(0, len(text.inputs), 60):
            x, y = (torch.from_numpy(a[start : start + 60]) for a in (text.inputs, text.targets))
            logits = model(x).flatten(0, 1)  # (B, T, V) -> (B·T, V)
            each = F.cross_entropy(logits, y.flatten(), reduction="none")  # (B·T)
            parts.append(each.view(*y.shape).mean(1).numpy())  # (B·T) -> (B, T) -> (B)
    return np.concatenate(parts)


def run(recipe: dict[str, Any], text: Text, steps: int, seed: int) -> dict[str, Any]:
    """What a run of so many steps reached."""
    trainer = trainer_of(recipe, text, steps, seed)
    began = time.process_time()
    trainer.run(plan=False)
    seconds = time.process_time() - began
    return {
        "losses": losses_of(trainer.model, text).tolist(), "steps": steps, "seconds": seconds,
        "parameters": trainer.model.n_parameters(),
    }  # fmt: skip


def costs(made: dict[str, dict[str, Any]], text: Text, rounds: int = 4) -> dict[str, float]:
    """Processor seconds of a full step of each recipe: the least of some rounds of 6 steps."""
    trainers = {name: trainer_of(recipe, text, 10**6, SEED) for name, recipe in made.items()}
    least = dict.fromkeys(made, np.inf)
    for i in range(rounds):
        for name, trainer in trainers.items():
            trainer.setup.ramp = 0
            for _ in range(1 if i == 0 else 6):
                began = time.process_time()
                trainer._train_step()
                seconds = time.process_time() - began
                if i:
                    least[name] = min(least[name], seconds)
    return least


# ---------------------------------------------------------------------------------------- the table
class Ladder:
    """Runs, kept in a file so that none is made twice."""

    def __init__(self, text: Text, steps: int, state: str | None) -> None:
        self.text, self.steps = text, steps
        self.path = None if state is None else Path(state)
        self.kept: dict[str, Any] = {}
        if self.path is not None and self.path.exists():
            self.kept = json.loads(self.path.read_text("utf-8"))

    def keep(self, name: str, make: Any) -> Any:
        """What `make` returns, or what it returned in an earlier run of this command."""
        if name not in self.kept:
            self.kept[name] = make()
            if self.path is not None:
                text = json.dumps(self.kept)
                self.path.with_suffix(".new").write_text(text, "utf-8")
                self.path.with_suffix(".new").replace(self.path)
        return self.kept[name]

    def of(self, recipe: dict[str, Any], steps: int, seed: int = SEED) -> dict[str, Any]:
        """The run of a recipe."""
        name = json.dumps([recipe, steps, seed, self.text.name])
        return dict(self.keep(name, lambda: run(recipe, self.text, steps, seed)))

    def rows(self, made: dict[str, dict[str, Any]]) -> list[dict[str, Any]]:
        """A row of the table for each recipe, printed as soon as it is there."""
        from tinygrad_llm.evaluation import bootstrap, paired_difference

        key = "costs " + json.dumps([made, self.text.name])
        cost = self.keep(key, lambda: costs(made, self.text))
        plain = self.of(PLAIN, steps_for(PLAIN, self.steps))
        print("\n| recipe | rate | parameters | ms per step | at equal tokens | minus plain "
              "| at equal time | minus plain |\n|---|---|---|---|---|---|---|---|")  # fmt: skip
        rows = []
        for name, recipe in made.items():
            ratio = cost["plain"] / cost[name]
            steps = steps_for(recipe, self.steps)
            results = [self.of(recipe, steps)]
            near = abs(ratio - 1.0) < 0.05  # closer than what is measured
            results.append(results[0] if near else self.of(recipe, max(10, round(steps * ratio))))
            row = {"recipe": name, "lr": recipe["lr"], "ms": cost[name] * 1e3,
                   "parameters": results[0]["parameters"]}  # fmt: skip
            for kind, result in zip(("tokens", "time"), results, strict=True):
                losses, base = result["losses"], plain["losses"]
                row[kind] = str(bootstrap(losses))
                row[f"{kind} minus"] = _signed(paired_difference(losses, base))
            rows.append(row)
            print(f"| {_what(name)} | {row['lr']:g} | {row['parameters']:,} | {row['ms']:.1f} | "
                  + " | ".join(row[k] for k in ("tokens", "tokens minus", "time", "time minus"))
                  + " |", flush=True)  # fmt: skip
        return rows

    def seeds(self, recipe: dict[str, Any], n: int = 3) -> list[float]:
        """The loss of a recipe with other seeds of weights and data order."""
        steps = steps_for(recipe, self.steps)
        return [float(np.mean(self.of(recipe, steps, SEED + i)["losses"])) for i in range(n)]

    def rates(self) -> dict[str, Any]:
        """The loss of a few learning rates, on a seed that the table does not use."""
        result = {}
        for name, rates in RATES.items():
            changes = {} if name == "plain" else RUNGS[name].changes
            for lr in rates:
                recipe = {**PLAIN, **changes, "lr": lr}
                loss = np.mean(self.of(recipe, self.steps, seed=100)["losses"])
                result[f"{name}, {lr:g}"] = float(loss)
                print(f"{name:10} {lr:8g}   {loss:.4f}", flush=True)
        return result


def _what(name: str) -> str:
    """A recipe's name in words."""
    kind, _, rung = name.rpartition(" ")
    if not kind:
        return name
    return RUNGS[rung].what if kind == "alone:" else f"+ {RUNGS[rung].what}"


def _signed(interval: Any) -> str:
    """A difference with its interval; bold if chance in the windows does not explain it."""
    text = f"{interval.value:+.3f} [{interval.low:+.3f}, {interval.high:+.3f}]"
    return text if 0.0 in interval else f"**{text}**"


def main(argv: list[str]) -> dict[str, Any]:
    parser = common.parser("training-ladder", __doc__)
    parser.add_argument("--only", default="", help="rungs, with commas; all if it is left out")
    parser.add_argument("--steps", type=_steps, default=400, help="steps of the plain run")
    parser.add_argument("--text", help="a data set or a file")
    parser.add_argument("--state", help="a file that keeps the runs that were made")
    parser.add_argument("--rates", action="store_true", help="try learning rates instead")
    options = parser.parse_args(argv)
    only = options.only.split(",") if options.only else list(RUNGS)
    for name in only:
        if name not in RUNGS:
            parser.error(f"there is no rung {name!r}; the rungs: {', '.join(RUNGS)}")
    print(machine.describe())
    began = time.process_time()
    ladder = Ladder(read(options.text), options.steps, options.state)
    if options.rates:
        return {"rates": ladder.rates()}
    made = recipes(only)
    rows = ladder.rows(made)
    last = list(made)[-1]
    spread = {"plain": ladder.seeds(PLAIN), last: ladder.seeds(made[last])}
    for name, losses in spread.items():
        print(f"{_what(name)}, three seeds: " + ", ".join(f"{loss:.3f}" for loss in losses))
    seconds = time.process_time() - began
    print(f"{seconds:,.0f} seconds of processor time")
    return {"machine": {"text": machine.describe()}, "rows": rows, "spread": spread,
            "processor_seconds": seconds}  # fmt: skip


def _steps(text: str) -> int:
    n = int(text)
    if n < 10:
        raise argparse.ArgumentTypeError("10 or more")
    return n
