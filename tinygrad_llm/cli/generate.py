"""tinygrad-llm generate: text from a trained model."""

from __future__ import annotations

import sys
from dataclasses import fields
from pathlib import Path
from typing import Any

import typer

from ..files.plain_text import say
from ..files.program import command_line
from ..generation import Sampling, end_tokens
from ..training.devices import check_device
from .errors import BadValue, blame, newest_checkpoint, published_names
from .options import must_be, with_flags

__all__ = [
    "check_weights",
    "model_flags",
    "random_seed",
    "read_model",
    "register",
    "sampling_of",
    "show",
]

_HELP = """Write text with a model that pretrain made, or with a published one.

CHECKPOINT is a run's folder or one of its checkpoints; a folder in Hugging Face's layout or a .gguf
file; or the name of a published model (tinygrad-llm models list). Without it, the run in runs/ that
was saved last is used.

\b
Examples:
  tinygrad-llm generate
  tinygrad-llm generate runs/first --prompt "The with statement" --tokens 200
  tinygrad-llm generate --temperature 0                  always the likeliest token
  tinygrad-llm generate --top-p 0.9 --samples 3 --seed 7
  tinygrad-llm generate --min-p 0.05 --repetition-penalty 1.1 --stop "."
  tinygrad-llm generate --draft lookup --draft-tokens 3  faster for texts that repeat themselves
  tinygrad-llm generate smollm2-135m-instruct --chat --prompt "What is the capital of France?"
  tinygrad-llm generate smollm2-135m-instruct --quantize gguf     in as few bits as its file
  tinygrad-llm generate smollm2-135m-instruct --device cuda
"""


# Type, default and help of each option of Sampling; stop_tokens are the tokenizer's. The defaults
# are Sampling's, except that a command draws.
SAMPLING_FLAGS: dict[str, tuple[Any, str]] = {
    "temperature": (float, "0 is greedy; a higher value is more varied."),
    "top_k": (int | None, "Choose from the k likeliest."),
    "top_p": (float | None, "Choose from the likeliest, up to this sum."),
    "min_p": (float | None, "Choose from those at least so likely, per the likeliest."),
    "repetition_penalty": (float, "Above 1, tokens of the text so far become less likely."),
    "stop_strings": (list[str] | None, "The text ends before this; may be repeated."),
    "seed": (int | None, "The same seed writes the same text."),
}
_FLAGS = {"stop_strings": "--stop"}
# The same of the options that say how weights are kept.
DTYPES = ("float32", "bfloat16", "float16")
WEIGHT_FLAGS: dict[str, tuple[Any, str]] = {
    "dtype": (str, f"Of the matrices: {', '.join(DTYPES)}; all else is computed in float32."),
    "quantize": (
        str | None,
        "Keep matrices in fewer bits: int8, q8_0, q4_0, q4_1, nf4, or gguf as their file does.",
    ),
}
_DEFAULTS = {f.name: f.default for f in fields(Sampling)} | {
    "temperature": 0.8, "stop_strings": None, "dtype": "float32", "quantize": None
}  # fmt: skip


def register(app: typer.Typer) -> None:
    """Adds the command to the application."""
    app.command(name="generate", help=_HELP)(with_flags(generate, model_flags(True)))


def model_flags(sampling: bool) -> dict[str, tuple[Any, Any]]:
    """The flags that say how weights are kept, and with `sampling` how tokens are chosen."""
    kinds = {**WEIGHT_FLAGS, **(SAMPLING_FLAGS if sampling else {})}
    return {
        name: (hint, typer.Option(_DEFAULTS[name], _flag(name), help=help))
        for name, (hint, help) in kinds.items()
    }


def check_weights(options: dict[str, Any], device: str) -> dict[str, Any]:
    """Takes dtype and quantize out of the options of a command; returns them, checked.

    Raises: BadValue if one is not allowed, or the device is not there.
    """
    weights = {name: options.pop(name) for name in WEIGHT_FLAGS}
    must_be("dtype", weights["dtype"] in DTYPES, f"one of {', '.join(DTYPES)}", weights["dtype"])
    check_device(device)
    return weights


def _flag(name: str) -> str:
    return _FLAGS.get(name, f"--{name.replace('_', '-')}")


def sampling_of(options: dict[str, Any]) -> Sampling:
    """The options as a Sampling.

    Raises: BadValue with the flag if one is not allowed.
    """
    try:
        return Sampling(**options)
    except ValueError as error:
        name, _, rest = str(error).partition(" ")
        raise BadValue(f"{_flag(name)} {rest}") from None


def generate(
    checkpoint: str | None = typer.Argument(None, help="A run or a checkpoint."),
    prompt: str = typer.Option("\n", help="How the text begins."),
    tokens: int = typer.Option(200, help="Tokens to write."),
    samples: int = typer.Option(1, help="Texts to write."),
    device: str = typer.Option("cpu", help="cpu, cuda or cuda:1."),
    chat: bool = typer.Option(False, "--chat", help="Answer the prompt, by the chat template."),
    draft: str | None = typer.Option(
        None, help="lookup, or a smaller model: drafts tokens that the model verifies together."
    ),
    draft_tokens: int | None = typer.Option(None, help="With --draft: tokens per draft (4)."),
    prefill_chunk: int | None = typer.Option(None, help="Tokens of the prompt at a time."),
    **more: Any,
) -> None:
    """Print texts of a model as they are written.

    Raises: BadValue if the checkpoint holds no tokenizer or is a classifier, an option is out of
    range, or the draft model does not fit.
    """
    must_be("tokens", 1 <= tokens <= 10**6, "between 1 and 1,000,000", tokens)
    must_be("samples", 1 <= samples <= 10_000, "between 1 and 10,000", samples)
    weights = check_weights(more, device)
    seed = more["seed"]
    must_be("seed", seed is None or 0 <= seed < 2**63, "0 or more (below 2^63)", seed)
    must_be("prompt", prompt != "", "at least one character", "nothing")
    for name, value in {"draft-tokens": draft_tokens, "prefill-chunk": prefill_chunk}.items():
        must_be(name, value is None or value >= 1, "at least 1", value)
    if draft is None and draft_tokens is not None:
        raise BadValue("--draft-tokens needs --draft lookup, or --draft and a model")
    options = sampling_of(more)
    from ..generation import stream_text

    model, tokenizer = read_model(checkpoint, **weights)
    with blame("--quantize", NotImplementedError):
        model.to(device)
    with blame("--prompt", ValueError):
        ids = _prompt_ids(tokenizer, prompt, chat)
    drafts = _drafts(draft, draft_tokens, device, tokenizer, prompt, weights["dtype"])
    ends = end_tokens(model, tokenizer)
    first = random_seed() if seed is None else seed
    for number in range(samples):
        if samples > 1:
            say(f"--- sample {number + 1} (--seed {first + number})")
        show("" if chat else prompt)
        with blame("--draft", ValueError):
            pieces = stream_text(
                model, ids, tokens, tokenizer=tokenizer, sampling=options, seed=first + number,
                stop_tokens=ends, prefill_chunk=prefill_chunk, **drafts,
            )  # fmt: skip
        for piece in pieces:
            show(piece)
        show("\n")
    if drafts:
        say(f"drafts: {drafts['draft_statistics']}", file=sys.stderr)


def _drafts(
    draft: str | None, draft_tokens: int | None, device: str, tokenizer: Any, prompt: str,
    dtype: str,
) -> dict[str, Any]:  # fmt: skip
    """The keywords of stream_text for --draft.

    Raises: BadValue if there is no such model, or its tokenizer cuts the prompt otherwise.
    """
    from ..generation import DraftStatistics

    if draft is None:
        return {}
    options: dict[str, Any] = {"draft": draft, "draft_statistics": DraftStatistics()}
    if draft_tokens is not None:
        options["draft_tokens"] = draft_tokens
    if draft != "lookup":
        options["draft"], other = read_model(draft, dtype)
        options["draft"].to(device)
        with blame("--draft", ValueError):
            if _prompt_ids(other, prompt, False) != _prompt_ids(tokenizer, prompt, False):
                raise ValueError(
                    f"{draft} has another tokenizer than the model: they must have the same"
                )
    return options


def read_model(name: str | None, dtype: str, quantize: str | None = None) -> tuple[Any, Any]:
    """The language model and the tokenizer of a run, a folder, a file, or a published name.

    Raises: BadValue if there is no such model, if it is a classifier, or lacks a tokenizer; if it
    cannot be kept in these bits.
    """
    from .. import models, text
    from ..layers import quantized
    from ..models.encoder import MaskedEncoder
    from ..models.pretrained import download_notice
    from ..tensor import dtypes

    if name is not None and _is_published(name):
        notice = download_notice(name)
        if notice is not None:
            say(notice, file=sys.stderr)
        with blame("CHECKPOINT", ValueError, OSError):
            loaded = models.language_model(name, dtype=getattr(dtypes, dtype), quantize=quantize)
            return _kept(loaded, dtype), text.from_pretrained(name)
    saved = newest_checkpoint(name or _latest_run(Path("runs")), or_published=True)
    model = saved.build_model()
    if isinstance(model, MaskedEncoder):
        raise BadValue(
            f"{saved.path} fills masks and writes no text: use {command_line('fill-mask')}"
        )
    if not isinstance(model, models.LanguageModel):
        raise BadValue(
            f"{saved.path} is a classifier, which writes no text: use "
            f"{command_line('finetune', 'ask')}"
        )
    if quantize is not None:
        with blame("--quantize", ValueError):
            quantized.quantize(model, quantize)
    _kept(model, dtype)
    with blame("--prompt", ValueError):
        try:
            return model, text.load_tokenizer(saved.path / "tokenizer.json")
        except FileNotFoundError:
            raise BadValue(
                f"{saved.path} holds no tokenizer.json: pretrain did not write it"
            ) from None


def _kept(model: Any, dtype: str) -> Any:
    """The model, its matrices in this dtype."""
    from ..layers.half_weights import keep_in_half
    from ..tensor import dtypes

    if dtype != "float32":
        keep_in_half(model, getattr(dtypes, dtype))
    return model


def _is_published(name: str) -> bool:
    """Whether it is a model's folder or file that no run wrote, or the name of a published one."""
    path = Path(name)
    if path.is_dir():
        ours = (path / "checkpoints").is_dir() or (path / "manifest.json").is_file()
        theirs = any((path / file).is_file() for file in ("config.json", "params.json"))
        return theirs and not ours  # a run has a config.json too
    return path.is_file() or name in published_names()


def _prompt_ids(tokenizer: Any, prompt: str, chat: bool) -> list[int]:
    """The ids of a prompt, with what begins a text, or of a message to a chat model.

    Raises: ValueError if the tokenizer cannot write it.
    """
    from ..text import PipelineTokenizer

    published = isinstance(tokenizer, PipelineTokenizer)
    if chat:
        if not published:
            raise ValueError(f"the tokenizer {tokenizer.name} has no chat template: leave --chat")
        ids: list[int] = tokenizer.chat([{"role": "user", "content": prompt}])
        return ids
    ids = list(tokenizer.encode(prompt, disallowed_special=()))  # with what begins a text
    return ids


def random_seed() -> int:
    """A seed that nobody has chosen, below 2^31."""
    import secrets

    return secrets.randbelow(2**31)


def show(text: str) -> None:
    """Print a piece of a text immediately, without a line break after it."""
    say(text, end="")
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
