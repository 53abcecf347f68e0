"""tinygrad-llm generate: text from a trained model."""

from __future__ import annotations

import math
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import typer

from .devices import check_device
from .errors import BadValue, newest_checkpoint

__all__ = ["register", "steps"]

_HELP = """Write text with a model that pretrain made.

CHECKPOINT is a run's folder or one of its checkpoints; without it the run in runs/ that was saved
last is taken.

\b
Examples:
  tinygrad-llm generate
  tinygrad-llm generate runs/first --prompt "The with statement" --tokens 200
  tinygrad-llm generate --temperature 0                  always the likeliest token
  tinygrad-llm generate --top-p 0.9 --samples 3 --seed 7
"""


def register(app: typer.Typer) -> None:
    """Adds the command to the application."""
    app.command(name="generate", help=_HELP)(generate)


def steps(
    model: Any, ids: Sequence[int], tokens: int, stop: int | None, seed: int, choice: dict[str, Any]
) -> Iterator[int]:
    """The ids that the model writes after `ids`, one by one."""
    from ..generation import generate_steps

    for ids_of_step in generate_steps(
        model, [list(ids)], tokens, stop_tokens=stop, seed=seed, **choice
    ):
        yield int(ids_of_step[0].item())


def generate(
    checkpoint: str | None = typer.Argument(None, help="A run or a checkpoint."),
    prompt: str = typer.Option("\n", help="How the text begins."),
    tokens: int = typer.Option(200, help="Tokens to write."),
    temperature: float = typer.Option(0.8, help="0 is greedy; more is more varied."),
    top_k: int | None = typer.Option(None, help="Choose from the k likeliest."),
    top_p: float | None = typer.Option(None, help="Choose from this much probability."),
    seed: int | None = typer.Option(None, help="For the same text again."),
    samples: int = typer.Option(1, help="How many texts."),
    device: str = typer.Option("cpu", help="cpu, cuda or cuda:1."),
) -> None:
    for name, value, fine, wanted in (
        ("tokens", tokens, tokens >= 1, "at least 1"),
        ("samples", samples, samples >= 1, "at least 1"),
        ("temperature", temperature, 0 <= temperature < math.inf, "0 or more"),
        ("top-k", top_k, top_k is None or top_k >= 1, "at least 1"),
        ("top-p", top_p, top_p is None or 0 < top_p <= 1, "more than 0 and at most 1"),
        ("seed", seed, seed is None or 0 <= seed < 2**63, "0 or more (below 2^63)"),
        ("prompt", "nothing", prompt != "", "at least one character"),
    ):
        if not fine:
            raise BadValue(f"--{name} must be {wanted}, got {value}")

    check_device(device)
    from .. import text
    from ..models import GPTClassifier

    found = newest_checkpoint(checkpoint or _latest_run(Path("runs")))
    model = found.build_model().to(device)
    if isinstance(model, GPTClassifier):
        raise BadValue(
            f"{found.path} is a classifier, which writes no text: tinygrad-llm finetune ask asks it"
        )
    try:
        tokenizer = text.load_tokenizer(found.path / "tokenizer.json")
        ids = tokenizer.encode(prompt, disallowed_special=())
    except FileNotFoundError:
        raise BadValue(f"{found.path} holds no tokenizer.json: pretrain did not write it") from None
    except ValueError as error:
        raise BadValue(f"--prompt: {error}") from error
    first = _random_seed() if seed is None else seed
    for number in range(samples):
        if samples > 1:
            print(f"--- sample {number + 1} (--seed {first + number})")
        decoder = tokenizer.stream()
        _show(prompt)
        choice = {"temperature": temperature, "top_k": top_k, "top_p": top_p}
        for token in steps(model, ids, tokens, tokenizer.eot_token, first + number, choice):
            _show(decoder.push(token))
        _show(decoder.finish() + "\n")


def _random_seed() -> int:
    import secrets

    return secrets.randbelow(2**31)


def _show(text: str) -> None:
    encoding = sys.stdout.encoding or "utf-8"
    sys.stdout.write(text.encode(encoding, "replace").decode(encoding))
    sys.stdout.flush()


def _latest_run(folder: Path) -> Path:
    """The run whose newest checkpoint was written last."""
    saved = list(folder.glob("*/checkpoints/step-*/manifest.json"))
    if not saved:
        raise BadValue(
            f"there is no trained model in {folder.absolute()}: name a run's folder, or make one "
            "with tinygrad-llm pretrain"
        )
    return max(saved, key=lambda path: path.stat().st_mtime).parent.parent.parent
