"""tinygrad-llm generate: text from a trained model."""

from __future__ import annotations

import math
import sys
from pathlib import Path

import typer

from ..files.program import command_line
from ..training.devices import check_device
from .errors import BadValue, blame, newest_checkpoint
from .options import must_be

__all__ = ["register"]

_HELP = """Write text with a model that pretrain made.

CHECKPOINT is a run's folder or one of its checkpoints; without it, the run in runs/ that was saved
last is used.

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


def generate(
    checkpoint: str | None = typer.Argument(None, help="A run or a checkpoint."),
    prompt: str = typer.Option("\n", help="How the text begins."),
    tokens: int = typer.Option(200, help="Tokens to write."),
    temperature: float = typer.Option(0.8, help="0 is greedy; a higher value is more varied."),
    top_k: int | None = typer.Option(None, help="Choose from the k likeliest."),
    top_p: float | None = typer.Option(None, help="Choose from the likeliest, up to this sum."),
    seed: int | None = typer.Option(None, help="The same seed writes the same text."),
    samples: int = typer.Option(1, help="Texts to write."),
    device: str = typer.Option("cpu", help="cpu, cuda or cuda:1."),
) -> None:
    must_be("tokens", tokens >= 1, "at least 1", tokens)
    must_be("samples", samples >= 1, "at least 1", samples)
    must_be("temperature", 0 <= temperature < math.inf, "0 or more", temperature)
    must_be("top-k", top_k is None or top_k >= 1, "at least 1", top_k)
    must_be("top-p", top_p is None or 0 < top_p <= 1, "more than 0 and at most 1", top_p)
    must_be("seed", seed is None or 0 <= seed < 2**63, "0 or more (below 2^63)", seed)
    must_be("prompt", prompt != "", "at least one character", "nothing")
    check_device(device)
    from .. import text
    from ..generation import stream_text
    from ..models import LanguageModel

    saved = newest_checkpoint(checkpoint or _latest_run(Path("runs")))
    model = saved.build_model().to(device)
    if not isinstance(model, LanguageModel):
        raise BadValue(
            f"{saved.path} is a classifier, which writes no text: use "
            f"{command_line('finetune', 'ask')}"
        )
    with blame("--prompt", ValueError):
        try:
            tokenizer = text.load_tokenizer(saved.path / "tokenizer.json")
        except FileNotFoundError:
            raise BadValue(
                f"{saved.path} holds no tokenizer.json: pretrain did not write it"
            ) from None
        ids = tokenizer.encode(prompt, disallowed_special=())
    first = _random_seed() if seed is None else seed
    for number in range(samples):
        if samples > 1:
            print(f"--- sample {number + 1} (--seed {first + number})")
        _show(prompt)
        for piece in stream_text(
            model, ids, tokens, tokenizer=tokenizer, temperature=temperature, top_k=top_k,
            top_p=top_p, seed=first + number, stop_tokens=tokenizer.eot_token,
        ):  # fmt: skip
            _show(piece)
        _show("\n")


def _random_seed() -> int:
    import secrets

    return secrets.randbelow(2**31)


def _show(text: str) -> None:
    from ..training.progress import printable

    sys.stdout.write(printable(text))
    sys.stdout.flush()


def _latest_run(folder: Path) -> Path:
    """The run whose newest checkpoint was written last.

    Raises: BadValue if there is none.
    """
    saved = list(folder.glob("*/checkpoints/step-*/manifest.json"))
    if not saved:
        raise BadValue(
            f"there is no trained model in {folder.absolute()}: name a run's folder, or make one "
            f"with {command_line('pretrain')}"
        )
    return max(saved, key=lambda path: path.stat().st_mtime).parent.parent.parent
