"""The ladder of training ideas: what each brings a small GPT, alone and on top of the others.

    python -m benchmarks training-ladder                  every idea, on Shakespeare's characters
    python -m benchmarks training-ladder --only rms,muon --steps 100
    python -m benchmarks training-ladder --rates          learning rates, tried on another seed
    python -m benchmarks training-ladder --seeds 5 --jobs 8 --state ladder.json

With one seed every run has the same windows in the same order. A run at equal tokens reads as
many windows as the plain one; at equal time it has the processor seconds of the plain one, by the
cost of a step as measured before (least of several, the recipes alternately). The loss is that of
validation in nats per character, with the 95 % interval over windows; differences are paired. With
--seeds N it is the mean of N seeds of weights and data order, and the interval of a difference is
Student's over the seeds, each beside plain with that seed. --jobs N trains in N processes.
With --state FILE a table that was stopped (Ctrl-C, kill -9) continues with the runs that are not
in the file. LADDER.md has the results.
"""

from __future__ import annotations

import json
import time
from functools import partial
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
# The 97.5 % quantile of Student's t for the mean of n values
STUDENT = {2: 12.706, 3: 4.303, 4: 3.182, 5: 2.776, 6: 2.571, 7: 2.447, 8: 2.365, 9: 2.306,
           10: 2.262}  # fmt: skip


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
    "free-warm": Rung("Schedule-Free AdamW with warm-up",
                      {"optimizer": "schedule-free", "groups": True, "lr": 2e-2,
                       "free_warmup": 0.1}, False),
}  # fmt: skip
RATES = {
    "plain": (1e-3, 2e-3, 4e-3, 8e-3, 1.6e-2), "cosine": (3e-3, 6e-3, 1.2e-2, 2.4e-2, 4.8e-2),
    "wsd": (3e-3, 6e-3, 1.2e-2, 2.4e-2, 4.8e-2), "muon": (2e-3, 4e-3, 8e-3, 1.6e-2),
    "lion": (3e-4, 1e-3, 2e-3, 4e-3, 8e-3), "adafactor": (1e-2, 3e-2, 6e-2),
    "free": (5e-3, 1e-2, 2e-2), "free-warm": (5e-3, 1e-2, 2e-2, 4e-2, 8e-2),
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
    rising = r.pop("free_warmup", 0.0)  # the share of the steps in which Schedule-Free's rate rises
    own = {name: r.pop(name) for name in ("accumulation", "batch_ramp", "ema")}
    torch.manual_seed(seed)
    model = GPT(GPTConfig(vocab_size=text.vocab_size, **SHAPE, **r))
    betas, decay = (0.9, 0.99), 0.1
    if groups:
        made = make_optimizer(optimizer, model, "none", lr=lr, betas=betas, weight_decay=decay)
    else:
        made = optim.AdamW(model.parameters(), lr=lr, betas=betas, weight_decay=decay)
    for group in made.param_groups if rising else ():
        group["warmup_steps"] = int(rising * steps)
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

    def __init__(
        self, text: Text, steps: int, state: str | None, seeds: int = 1, jobs: int = 1
    ) -> None:
        self.text, self.steps = text, steps
        self.n_seeds, self.jobs = seeds, jobs
        self.path = None if state is None else Path(state)
        self.kept: dict[str, Any] = {} if self.path is None else _read_state(self.path)

    def keep(self, name: str, make: Any) -> Any:
        """What `make` returns, or what it returned in an earlier run of this command."""
        if name not in self.kept:
            self._store(name, make())
        return self.kept[name]

    def _store(self, name: str, value: Any) -> None:
        self.kept[name] = value
        if self.path is not None:
            text = json.dumps(self.kept)
            self.path.with_suffix(".new").write_text(text, "utf-8")
            self.path.with_suffix(".new").replace(self.path)

    def after_a_stop(self) -> str:
        """A line for the user who stopped it: where the runs are that were made."""
        if self.path is None:
            return "nothing is kept: with --state FILE the same command would continue"
        n = sum(not name.startswith("costs ") for name in self.kept)
        if not n:
            return "no run was finished; the same command begins again"
        return f"the runs so far ({n:,}) are in {self.path}; the same command goes on"

    def _name(self, recipe: dict[str, Any], steps: int, seed: int) -> str:
        return json.dumps([recipe, steps, seed, self.text.name])

    def of(self, recipe: dict[str, Any], steps: int, seed: int = SEED) -> dict[str, Any]:
        """The run of a recipe."""
        name = self._name(recipe, steps, seed)
        return dict(self.keep(name, lambda: run(recipe, self.text, steps, seed)))

    def make(self, asked: list[tuple[dict[str, Any], int, int]]) -> None:
        """Makes the runs (recipe, steps, seed) that are not there, in `jobs` processes."""
        from tinygrad_llm.training.scaling.processes import share

        named = {self._name(*each): each for each in asked}
        left = [each for name, each in named.items() if name not in self.kept]
        if self.jobs > 1 and len(left) > 1:
            share(partial(_made, self.text), left, self.jobs,
                  lambda each, result: self._store(self._name(*each), result))  # fmt: skip
        for each in asked:
            self.of(*each)

    def rows(self, made: dict[str, dict[str, Any]]) -> list[dict[str, Any]]:
        """A row of the table for each recipe."""
        key = "costs " + json.dumps([made, self.text.name])
        cost = self.keep(key, lambda: costs(made, self.text))
        seeds = range(SEED, SEED + self.n_seeds)
        steps = {name: self._steps(recipe, cost["plain"] / cost[name])
                 for name, recipe in made.items()}  # fmt: skip
        for seed in seeds:  # a seed after the other, so that a stopped command has whole ones
            for kind in (0, 1):
                self.make([(made[name], both[kind], seed) for name, both in steps.items()])
        print("\n| recipe | rate | parameters | ms per step | at equal tokens | minus plain "
              "| at equal time | minus plain |\n|---|---|---|---|---|---|---|---|")  # fmt: skip
        rows = []
        for name, recipe in made.items():
            row = {"recipe": name, "lr": recipe["lr"], "ms": cost[name] * 1e3,
                   "parameters": self.of(recipe, steps[name][0])["parameters"]}  # fmt: skip
            for kind, n in zip(("tokens", "time"), steps[name], strict=True):
                row[kind], row[f"{kind} minus"] = self._compared(recipe, n, list(seeds))
            rows.append(row)
            print(f"| {_what(name)} | {row['lr']:g} | {row['parameters']:,} | {row['ms']:.1f} | "
                  + " | ".join(row[k] for k in ("tokens", "tokens minus", "time", "time minus"))
                  + " |", flush=True)  # fmt: skip
        return rows

    def _steps(self, recipe: dict[str, Any], ratio: float) -> tuple[int, int]:
        """(at equal tokens, at equal time); ratio: the cost of a plain step relative to its own.

        The same where the costs are closer than what is measured.
        """
        steps = steps_for(recipe, self.steps)
        near = abs(ratio - 1.0) < 0.05
        return steps, steps if near else max(10, round(steps * ratio))

    def _compared(self, recipe: dict[str, Any], steps: int, seeds: list[int]) -> tuple[str, str]:
        """(the loss, the difference from the plain run with its interval) as texts."""
        from tinygrad_llm.evaluation import bootstrap, paired_difference

        own = [self.of(recipe, steps, seed)["losses"] for seed in seeds]
        plain = [self.of(PLAIN, steps_for(PLAIN, self.steps), seed)["losses"] for seed in seeds]
        if len(seeds) == 1:
            difference = paired_difference(own[0], plain[0])
            return str(bootstrap(own[0])), _signed(difference.value, difference.low,
                                                   difference.high)  # fmt: skip
        differences = np.mean(own, axis=1) - np.mean(plain, axis=1)  # (seeds)
        mean, half = float(differences.mean()), _half_interval(differences)
        return f"{np.mean(own):.3f}", _signed(mean, mean - half, mean + half)

    def seeds(self, recipe: dict[str, Any]) -> list[float]:
        """The loss of a recipe with three seeds of weights and data order, or more."""
        steps = steps_for(recipe, self.steps)
        seeds = range(SEED, SEED + max(3, self.n_seeds))
        self.make([(recipe, steps, seed) for seed in seeds])
        return [float(np.mean(self.of(recipe, steps, seed)["losses"])) for seed in seeds]

    def rates(self) -> dict[str, Any]:
        """The loss of a few learning rates, on a seed that the table does not use."""
        tried = {}
        for name, rates in RATES.items():
            changes = {} if name == "plain" else RUNGS[name].changes
            tried |= {(name, lr): {**PLAIN, **changes, "lr": lr} for lr in rates}
        self.make([(recipe, self.steps, 100) for recipe in tried.values()])
        result = {}
        for (name, lr), recipe in tried.items():
            loss = np.mean(self.of(recipe, self.steps, seed=100)["losses"])
            result[f"{name}, {lr:g}"] = float(loss)
            print(f"{name:10} {lr:8g}   {loss:.4f}", flush=True)
        return result


def _read_state(path: Path) -> dict[str, Any]:
    """The runs that a file keeps; none if it is not there yet.

    Raises: ValueError if it cannot be read, or its folder is not there.
    """
    from tinygrad_llm.files.json_files import read_json_object

    if not path.parent.is_dir():
        raise ValueError(f"--state: the folder {path.parent} does not exist; create it first")
    if not path.exists():
        return {}
    try:
        return read_json_object(path)
    except (OSError, ValueError) as error:
        raise ValueError(f"--state: {error}; take another file, or delete it") from None


def _made(text: Text, each: tuple[dict[str, Any], int, int]) -> dict[str, Any]:
    recipe, steps, seed = each
    return run(recipe, text, steps, seed)


def _half_interval(values: np.ndarray) -> float:
    """Half of the 95 % interval of a mean, by Student's t."""
    n = len(values)
    return float(STUDENT[n] * values.std(ddof=1) / np.sqrt(n))


def _what(name: str) -> str:
    """A recipe's name in words."""
    kind, _, rung = name.rpartition(" ")
    if not kind:
        return name
    return RUNGS[rung].what if kind == "alone:" else f"+ {RUNGS[rung].what}"


def _signed(value: float, low: float, high: float) -> str:
    """A difference with its interval; bold if 0 is outside."""
    text = f"{value:+.3f} [{low:+.3f}, {high:+.3f}]"
    return text if low <= 0.0 <= high else f"**{text}**"


def main(argv: list[str]) -> dict[str, Any]:
    parser = common.parser("training-ladder", __doc__)
    parser.add_argument("--only", default="", help="rungs, with commas; all if it is left out")
    parser.add_argument(
        "--steps", type=common.whole_number(10), default=400, help="steps of the plain run"
    )
    parser.add_argument("--text", help="a data set or a file")
    parser.add_argument("--state", help="a file that keeps the runs that were made")
    parser.add_argument(
        "--seeds",
        type=common.whole_number(1, max(STUDENT)),
        default=1,
        help="of weights and data order",
    )
    parser.add_argument(
        "--jobs", type=common.whole_number(1, 1000), default=1, help="processes that train"
    )
    parser.add_argument("--rates", action="store_true", help="try learning rates instead")
    options = parser.parse_args(argv)
    only = options.only.split(",") if options.only else list(RUNGS)
    for name in only:
        if name not in RUNGS:
            parser.error(f"there is no rung {name!r}; the rungs: {', '.join(RUNGS)}")
        if only.count(name) > 1:
            parser.error(f"--only: {name!r} stands there twice")
    try:
        text = read(options.text)
        ladder = Ladder(text, options.steps, options.state, options.seeds, options.jobs)
    except (OSError, ValueError) as error:
        parser.error(str(error))
    print(machine.describe())
    try:
        return {"rates": ladder.rates()} if options.rates else _measured(ladder, recipes(only))
    except KeyboardInterrupt:
        print(ladder.after_a_stop())
        raise


def _measured(ladder: Ladder, made: dict[str, dict[str, Any]]) -> dict[str, Any]:
    """The table of all recipes, and what other seeds do to the first and the last of them."""
    began = time.process_time()
    rows = ladder.rows(made)
    last = list(made)[-1]
    spread = {"plain": ladder.seeds(PLAIN), last: ladder.seeds(made[last])}
    for name, losses in spread.items():
        print(
            f"{_what(name)}, seeds from {SEED} on: " + ", ".join(f"{loss:.3f}" for loss in losses)
        )
    seconds = time.process_time() - began
    print(f"{seconds:,.0f} seconds of processor time")
    return {"machine": {"text": machine.describe()}, "rows": rows, "spread": spread,
            "processor_seconds": seconds}  # fmt: skip
