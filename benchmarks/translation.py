"""finetune translate beside the same recipe with PyTorch's nn.Transformer.

    python -m benchmarks translation                       # 100 steps side by side: the losses
    python -m benchmarks translation --float64             # without rounding, or nearly so
    python -m benchmarks translation --run twice           # PyTorch beside itself, one bit away
    python -m benchmarks translation --run torch --epochs 5    # a whole run there
    python -m benchmarks translation --run ours --epochs 5     # and here
    python -m benchmarks translation --compare ours.json torch.json    # their --json files
    python -m benchmarks translation --run ours --device cuda  # on a GPU, and the same with torch

Both have the same initial weights, batches, dropout masks, rates and clipping. The first form
prints the largest difference of the losses of each step and the seconds per step of both. The
second trains PyTorch's to the end, copies its weights back and translates the test sentences with
our beams: its BLEU should be inside our interval, and ours inside its. `twice` has no side of ours:
both train with PyTorch, and every initial weight of the second is the next number that the dtype
has. What the losses of these two differ by is what rounding alone does.

On a GPU each side draws its own dropout masks, so that losses can be compared with --drop-rate 0
only; the batches and the initial weights of whole runs are still the same.
"""

from __future__ import annotations

import argparse
import json
import time
import warnings
from typing import Any

from . import common

# What may differ from the recipe of finetune translate, for both sides
RECIPE = {
    "epochs": float, "emb-dim": int, "n-heads": int, "n-layers": int, "batch-tokens": int,
    "drop-rate": float, "schedule": str, "lr": float, "min-lr": float, "warmup": int,
}  # fmt: skip


def prepared(settings: dict[str, Any], float64: bool = False) -> Any:
    """The run of finetune translate with these options, ready for its first step."""
    import tinygrad_llm
    from tinygrad_llm.finetune.runs import Translate
    from tinygrad_llm.training.settings import resolved

    run = Translate(resolved(Translate.options, settings), progress=False)
    run.prepare()
    if float64:
        run.model.to(tinygrad_llm.float64)
    return run


def apart(losses: dict[str, list[float]]) -> float:
    """The largest difference of the losses of both sides at a step."""
    return max(abs(a - b) for a, b in zip(losses["ours"], losses["torch"], strict=True))


def _note(number: int, losses: dict[str, list[float]]) -> None:
    if number % 25 == 0:
        print(f"step {number}: largest difference so far {apart(losses):.2e}", flush=True)


def _next_rate(trainer: Any) -> None:
    """The rate of the next step, where PyTorch's optimizer takes the steps and ours does not."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that ours has taken none
        trainer.scheduler.step()


def side_by_side(run: Any, steps: int, seed: int, note: Any = lambda *_: None) -> dict[str, Any]:
    """Losses and seconds of `steps` steps of both, on the same batches; note(number, losses)."""
    import torch

    from tinygrad_llm import random

    from .torch_transformer import Twin, TwinSteps

    trainer, smoothing = run.trainer, run.o.label_smoothing
    theirs = TwinSteps(Twin(run.model), trainer)
    random.manual_seed(seed)
    torch.manual_seed(seed)
    losses: dict[str, list[float]] = {"ours": [], "torch": []}
    seconds: dict[str, list[float]] = {"ours": [], "torch": []}
    batches = iter(trainer.stream.batches)
    place = trainer.stream.batches.state_dict()
    for number in range(1, steps + 1):
        batch = next(batches)
        lr = trainer.optimizer.param_groups[0]["lr"]
        began = time.perf_counter()
        losses["torch"].append(theirs.step(batch, lr, smoothing))
        between = time.perf_counter()
        place = {**place, "position": number - 1}
        trainer.stream.batches.load_state_dict(place)
        losses["ours"].append(trainer.stepper.step(number, None).loss)
        seconds["torch"].append(between - began)
        seconds["ours"].append(time.perf_counter() - between)
        batches = iter(trainer.stream.batches)
        note(number, losses)
    return {"losses": losses, "seconds": seconds}


def twice(run: Any, steps: int, seed: int, note: Any = lambda *_: None) -> dict[str, Any]:
    """As side_by_side, with PyTorch on both sides: the weights of one begin one rounding apart."""
    import torch

    from .torch_transformer import Twin, TwinSteps

    trainer, names = run.trainer, ("ours", "torch")
    twins = {name: Twin(run.model) for name in names}
    with torch.no_grad():
        for p in twins["ours"].parameters():
            p.copy_(torch.nextafter(p, torch.full_like(p, float("inf"))))
    sides = {name: TwinSteps(twin, trainer) for name, twin in twins.items()}
    torch.manual_seed(seed)
    losses: dict[str, list[float]] = {name: [] for name in names}
    seconds: dict[str, list[float]] = {name: [] for name in names}
    for number, batch in zip(range(1, steps + 1), trainer.stream.batches, strict=False):
        lr, state = trainer.optimizer.param_groups[0]["lr"], torch.get_rng_state()
        for name, side in sides.items():
            torch.set_rng_state(state)  # the same dropout masks
            began = time.perf_counter()
            losses[name].append(side.step(batch, lr, run.o.label_smoothing))
            seconds[name].append(time.perf_counter() - began)
        _next_rate(trainer)
        note(number, losses)
    return {"losses": losses, "seconds": seconds}


def translated(run: Any) -> dict[str, Any]:
    """The test sentences in each way of writing: BLEU with its interval, and the texts."""
    ways = run.ways()
    return {
        "scores": {way.name: str(way.bleu) for way in ways},
        "texts": {way.name: way.texts for way in ways},
    }


def our_run(run: Any) -> dict[str, Any]:
    """Our side trained to the last step, and its scores; nothing is written."""
    began = time.perf_counter()
    result = run.trainer.run(plan=False)
    seconds = time.perf_counter() - began
    return {"losses": [result.loss], "seconds": seconds, **translated(run)}


def whole_run(run: Any, seed: int, note: Any = print) -> dict[str, Any]:
    """PyTorch's side trained to the last step; its scores by our decoding."""
    import torch

    from .torch_transformer import Twin, TwinSteps

    trainer = run.trainer
    twin = Twin(run.model)
    steps = TwinSteps(twin, trainer)
    torch.manual_seed(seed)
    losses, began = [], time.perf_counter()
    for number, batch in zip(range(1, trainer.steps + 1), trainer.stream.batches, strict=False):
        lr = trainer.optimizer.param_groups[0]["lr"]
        losses.append(steps.step(batch, lr, run.o.label_smoothing))
        _next_rate(trainer)
        if number % 100 == 0:
            spent = time.perf_counter() - began
            note(f"step {number}/{trainer.steps}  loss {losses[-1]:.4f}  {spent:.0f} s", flush=True)
    seconds = time.perf_counter() - began
    twin.copy_to(run.model)
    return {"losses": losses, "seconds": seconds, **translated(run)}


def _texts(path: str) -> dict[str, list[str]]:
    """The translations in a --json file of --run, by the way of writing."""
    try:
        with open(path, encoding="utf-8") as file:
            return json.load(file)["texts"]
    except (OSError, ValueError, KeyError) as error:
        raise ValueError(
            f"{path} is not a file that `--run ours` or `--run torch` wrote with --json: {error!r}"
        ) from error


def compared(ours: str, theirs: str) -> None:
    """Prints the BLEU of two runs' --json files, and the paired difference of each way."""
    from tinygrad_llm.data import corpora
    from tinygrad_llm.evaluation.bleu import bleu_score, corpus_bleu
    from tinygrad_llm.evaluation.intervals import paired_difference

    texts = [_texts(path) for path in (ours, theirs)]
    references = corpora.path("enja-test.en").read_text(encoding="utf-8").splitlines()
    print(f"| written by | {ours} | {theirs} | difference |\n|---|---|---|---|")
    for way in texts[0]:
        scores = [corpus_bleu(side[way], references, cut="spaces") for side in texts]
        gap = paired_difference(scores[0].counts, scores[1].counts, bleu_score)
        intervals = [score.interval() for score in scores]
        cells = [f"{i.value:.2f} [{i.low:.2f}, {i.high:.2f}]" for i in intervals]
        cells.append(f"{gap.value:+.2f} [{gap.low:+.2f}, {gap.high:+.2f}]")
        print(f"| {way} | {' | '.join(cells)} |")


def main(argv: list[str]) -> None:
    parser = common.parser("translation", __doc__)
    parser.add_argument("--compare", nargs=2, metavar="FILE", help="two --json files of --run")
    parser.add_argument("--run", choices=("steps", "twice", "torch", "ours"), default="steps")
    parser.add_argument("--steps", type=common.whole_number(1), default=100)
    parser.add_argument("--threads", type=common.whole_number(1), default=None, help="of PyTorch")
    parser.add_argument("--device", default=None, help="cpu, the default, or cuda")
    parser.add_argument("--seed", type=int, default=None, help="of weights, data order, dropout")
    parser.add_argument("--float64", action="store_true")
    parser.add_argument("--data", default=None)
    parser.add_argument("--pairs", type=int, default=None)
    for name, kind in RECIPE.items():
        parser.add_argument(f"--{name}", type=kind, help="as finetune translate")
    o = parser.parse_args(argv)
    try:
        measured(o)
    except (ValueError, OSError) as error:  # an option, a file or a device
        parser.error(str(error))


def measured(o: argparse.Namespace) -> None:
    """What these options ask for, printed and written.

    Raises: ValueError if an option or a file of --compare is not usable.
    """
    if o.compare:
        return compared(*o.compare)
    if str(o.device).startswith("cuda") and o.run in ("steps", "twice") and o.drop_rate != 0:
        raise ValueError("on a GPU each side draws its own dropout masks: add --drop-rate 0")
    import torch

    if o.threads:
        torch.set_num_threads(o.threads)
    names = ["data", "pairs", "device", "seed", *(name.replace("-", "_") for name in RECIPE)]
    settings = {name: getattr(o, name) for name in names}
    run = prepared({k: v for k, v in settings.items() if v is not None}, o.float64)
    seed = run.o.seed
    if o.run in ("torch", "ours"):
        result = our_run(run) if o.run == "ours" else whole_run(run, seed)
        print(f"{o.run}: {run.trainer.steps} steps in {result['seconds']:.0f} s, with "
              f"{run.o.epochs:g} epochs of {len(run.train):,} pairs")  # fmt: skip
        for name, score in result["scores"].items():
            print(f"{name:26} {score}")
    else:
        result = (twice if o.run == "twice" else side_by_side)(run, o.steps, seed, _note)
        ours = result["losses"]["ours"]
        print(f"{o.steps} steps, losses {ours[0]:.4f} to {ours[-1]:.4f}; largest difference "
              f"{apart(result['losses']):.2e}")  # fmt: skip
        median = {k: sorted(v)[len(v) // 2] for k, v in result["seconds"].items()}
        print(f"median step: ours {median['ours']:.3f} s, PyTorch {median['torch']:.3f} s, ratio "
              f"{median['torch'] / median['ours']:.2f}")  # fmt: skip
    if o.json:
        with open(o.json, "w", encoding="utf-8") as file:
            json.dump(result, file)
