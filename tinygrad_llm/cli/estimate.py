"""tinygrad-llm estimate: what a model costs, in closed form, without making it."""

from __future__ import annotations

import dataclasses
import json
import sys
from typing import TYPE_CHECKING, Any

import typer

from .errors import BadValue, blame
from .options import with_flags

if TYPE_CHECKING:
    from ..models.config import ModelConfig

__all__ = ["register"]

_HELP = """Memory and operations of a model in closed form: weights, cache, forward, training.

NAME is a published size (gpt2, llama-3.2-1b, qwen3-30b-a3b) or a preset of pretrain (gpt2-124m);
without it the model is a GPT, 124 million parameters unless the options say otherwise. FLOPs are by
the usual convention: full T x T attention, backward twice forward.

With --ranks also what each of many ranks has and sends in a training step, for data parallelism and
the three stages of ZeRO, with tensor parallelism and pipeline stages; --batch is of all together.

\b
Examples:
  tinygrad-llm estimate llama-3.2-1b --context-length 8192 --batch 4
  tinygrad-llm estimate --attention gqa --n-kv-heads 8 --n-heads 32 --emb-dim 4096 --n-layers 32
  tinygrad-llm estimate --attention swa --window 1024 --ratio 5:1 --context-length 32768
  tinygrad-llm estimate --attention mha,gqa,swa,deltanet --plot memory.png
  tinygrad-llm estimate llama2-7b --ranks 64 --tp 8 --batch 256
"""


# Fields of the config that can be given, with their types and help
_FIELDS: dict[str, tuple[Any, str]] = {
    "feed_forward": (str | None, "Of a GPT: dense, relu2, swiglu or moe."),
    "positions": (str | None, "Of a GPT: learned, rotary, alibi, ..."),
    "context_length": (int | None, "Tokens of a text [the model's]."),
    "vocab_size": (int | None, "Different tokens."),
    "emb_dim": (int | None, "Channels."),
    "hidden_dim": (int | None, "Channels inside of a feed-forward layer."),
    "n_layers": (int | None, "Blocks."),
    "n_heads": (int | None, "Query heads."),
    "n_kv_heads": (int | None, "Heads of keys and values."),
    "head_dim": (int | None, "Channels of a head."),
    "latent_dim": (int | None, "Of mla: channels that are kept."),
    "rope_dim": (int | None, "Of mla: channels that turn."),
    "window": (int | None, "Of swa: keys that a token sees."),
    "dilation": (int | None, "Of swa: the window holds every so-many-th key."),
    "keep_first": (int | None, "Of swa: first keys that all see."),
    "ratio": (str | None, "K:1: K such blocks, then one that sees all."),
    "state_dim": (int | None, "Of mamba: numbers that a channel keeps."),
    "n_experts": (int | None, "Of moe."),
    "n_experts_per_token": (int | None, "Of moe."),
    "expert_dim": (int | None, "Of moe: channels within an expert."),
}

# Fields of models.estimate_ranks.Mesh
_MESH: dict[str, tuple[Any, str]] = {
    "ranks": (int | None, "Also what each of so many ranks has and sends in training."),
    "tp": (int | None, "Of --ranks: ranks that divide each matrix [1]."),
    "pp": (int | None, "Of --ranks: stages that divide the layers [1]."),
    "micro_batches": (int | None, "Of --pp: parts of the texts of a copy [1]."),
    "sequence": (bool | None, "Of --tp: norms are divided too."),
    "link": (float | None, "Of --ranks: GB/s that a rank sends [50]."),
    "tp_link": (float | None, "Of --tp: GB/s between its ranks [450]."),
    "tflops": (float | None, "Of --ranks: TFLOP/s that a rank reaches [400]."),
}


def register(app: typer.Typer) -> None:
    """Adds the command to the application."""
    flags = {
        name: (hint, typer.Option(None, help=help))
        for name, (hint, help) in (_FIELDS | _MESH).items()
    }
    app.command(name="estimate", help=_HELP)(with_flags(estimate, flags))


def estimate(
    name: str | None = typer.Argument(None, help="A published size, or a preset of pretrain."),
    attention: str = typer.Option("mha", help="Of a GPT: mha, gqa, mqa, swa, ...; with commas."),
    batch: int | None = typer.Option(
        None, help="Texts [1; of --ranks one for each copy and micro-batch]."
    ),
    dtype: str = typer.Option("bfloat16", help="Of weights and cache."),
    optimizer: str | None = typer.Option(
        None, help="Of --ranks: adamw, muon, lion, adafactor, schedule-free [adamw]."
    ),
    as_json: bool = typer.Option(False, "--json", help="Print everything as JSON."),
    plot: str | None = typer.Option(None, help="Draw memory against context into this PNG file."),
    **fields: Any,
) -> None:
    """Print what models cost, and draw it with --plot.

    fields: those of _FIELDS and _MESH, None if not given
    Raises: BadValue for a name, a size or a choice that cannot be.
    """
    from ..models import estimate as costs

    mesh = _mesh({name: fields.pop(name) for name in _MESH}, optimizer)
    if batch is None:
        batch = 1 if mesh is None else mesh.dp * mesh.micro_batches
    context_length = fields["context_length"]
    fields["ratio"] = _ratio(fields["ratio"])
    given = {name: value for name, value in fields.items() if value is not None}
    configs = _configs(name, [kind.strip() for kind in attention.split(",")], given)
    with blame("estimate", ValueError):
        made = {
            kind: costs.estimate(config, batch=batch, context_length=context_length, dtype=dtype)
            for kind, config in configs.items()
        }
    with blame("estimate --ranks", ValueError):
        costs_of_ranks = {"batch": batch, "context_length": context_length, "dtype": dtype}
        of_ranks = _of_ranks(configs, mesh, optimizer=optimizer or "adamw", **costs_of_ranks)
    if as_json:
        _say(json.dumps({k: {**e.as_dict(), **of_ranks[k][0]} for k, e in made.items()},
                        ensure_ascii=False, indent=1))  # fmt: skip
    else:
        _say("\n\n".join(f"{e}{of_ranks[k][1]}" for k, e in made.items()))
        if len(made) > 1:
            _say("\n" + costs.comparison(made))
    if plot is not None:
        from ..training.plots import plot_memory

        with blame("`plot`", ValueError):
            plot_memory(configs, plot, batch, dtype, context_length)
        if not as_json:
            _say(f"wrote {plot}")


def _mesh(given: dict[str, Any], optimizer: str | None) -> Any:
    """The Mesh of the options, None without --ranks.

    Raises: BadValue for options of --ranks without it, or numbers that do not fit.
    """
    from ..models.estimate_ranks import Mesh

    chosen = {name: value for name, value in given.items() if value is not None}
    more = {} if optimizer is None else {"optimizer": optimizer}
    if not chosen and not more:
        return None
    if "ranks" not in chosen:
        raise BadValue(f"--{next(iter(chosen | more)).replace('_', '-')} needs --ranks")
    with blame("estimate --ranks", ValueError):
        return Mesh(**chosen)


def _of_ranks(
    configs: dict[str, ModelConfig], mesh: Any, **options: Any
) -> dict[str, tuple[dict[str, Any], str]]:
    """For each config what a rank costs, as JSON's types and as text; nothing without a mesh.

    options: those of estimate_ranks
    """
    from ..models.estimate_ranks import estimate_ranks, ranks_table

    if mesh is None:
        return {kind: ({}, "") for kind in configs}
    shown = {}
    for kind, config in configs.items():
        costs = estimate_ranks(config, mesh, **options)
        as_json = {"ranks": [dataclasses.asdict(cost) for cost in costs]}
        shown[kind] = as_json, f"\n\n{ranks_table(costs, mesh)}"
    return shown


def _configs(name: str | None, kinds: list[str], given: dict[str, Any]) -> dict[str, ModelConfig]:
    """The configs to estimate, by the name that the table has for them.

    Raises: BadValue for a name, a field or a value that cannot be.
    """
    from ..models.estimate import find_config
    from ..models.gpt import GPTConfig

    if name is not None:
        config = _of_name(name, find_config)
        if len(kinds) > 1:
            raise BadValue(f"{name} has one attention: name several without a NAME")
        if kinds != ["mha"]:
            given = {**given, "attention": kinds[0]}
        unknown = given.keys() - {f.name for f in dataclasses.fields(config)}
        if unknown:
            what = ", ".join(sorted(unknown))
            raise BadValue(f"{name} ({type(config).__name__}) does not have {what}")
        with blame(name, ValueError, TypeError):
            return {name: dataclasses.replace(config, **given)}
    configs: dict[str, ModelConfig] = {}
    if "head_dim" in given and "emb_dim" not in given:  # the usual width
        given["emb_dim"] = given["head_dim"] * given.get("n_heads", GPTConfig.n_heads)
    for kind in kinds:
        chosen = {"feed_forward": "moe"} if kind == "moe" else {"attention": kind}
        own = {**given, **chosen}
        if len(kinds) > 1:  # each takes what it uses
            own = {k: v for k, v in own.items() if k in _used_by(own)}
        with blame(f"estimate --attention {kind}", ValueError, TypeError):
            configs[kind] = GPTConfig(**own)
    return configs


def _of_name(name: str, find_config: Any) -> ModelConfig:
    """Raises: BadValue if nothing has the name."""
    from ..training.presets import PRESETS, PretrainOptions, model_config

    presets = {
        preset: dataclasses.replace(PretrainOptions(), **values)
        for preset, values in PRESETS.items()
    }
    sizes = {
        preset: model_config(o, 50257 if o.tokenizer == "gpt2" else o.vocab_size)
        for preset, o in presets.items()
    }
    try:
        config: ModelConfig = find_config(name, sizes)
    except ValueError as error:
        raise BadValue(str(error)) from error
    return config


def _used_by(fields: dict[str, Any]) -> set[str]:
    """The fields that a GPT with these choices uses."""
    from ..models.switch import fields_used

    try:
        return fields_used(fields.get("attention", "mha"), fields.get("feed_forward", "dense"))
    except KeyError:
        return set(fields)  # the config says what is wrong


def _ratio(text: str | None) -> int | None:
    """K of "K:1".

    Raises: BadValue if it is not written so.
    """
    if text is None:
        return None
    blocks, _, full = text.partition(":")
    if not (blocks.isascii() and blocks.isdigit()) or full not in ("", "1"):
        raise BadValue(f"--ratio is K:1, such as 5:1, got {text}")
    return int(blocks)


def _say(text: str) -> None:
    sys.stdout.write(f"{text}\n")
