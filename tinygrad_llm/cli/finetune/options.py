"""The settings of the fine-tuning commands: one dataclass each, from which its options are made."""

from __future__ import annotations

import dataclasses
import inspect
import typing
from collections.abc import Callable, Mapping
from typing import Any, TypeVar

import typer

from ..errors import BadValue
from ..options import NOT_STORED, check_values, layered, read_config

O = TypeVar("O", bound="FinetuneOptions")

__all__ = ["ClassifyOptions", "DPOOptions", "FinetuneOptions", "InstructOptions", "command"]


def _option(default: Any, help: str, flag: str | None = None) -> Any:
    return dataclasses.field(default=default, metadata={"help": help, "flag": flag})


@dataclasses.dataclass
class FinetuneOptions:
    """The settings that all three commands have."""

    data: str | None = _option(None, "A named data set or a file.")
    base: str | None = _option(None, "The model to start from: see above.")
    epochs: float | None = _option(None, "Passes over the data.")
    steps: int | None = _option(None, "Or: steps to train.")
    batch_size: int = _option(8, "Examples in a batch.")
    accumulation: int = _option(1, "Batches in a step.")
    lr: float | None = _option(None, "Highest learning rate.")
    min_lr: float | None = _option(None, "Last learning rate [lr / 10].")
    warmup: int | None = _option(None, "Steps until the highest rate [a tenth].")
    weight_decay: float = _option(0.1, "AdamW's, on matrices.")
    clip: float = _option(1.0, "Largest gradient norm.")
    drop_rate: float | None = _option(None, "Dropout [the base's].")
    max_length: int | None = _option(None, "Tokens of a text; longer ones are cut.")
    lora: bool = _option(False, "Train LoRA layers, not all weights.", "--lora/--no-lora")
    lora_rank: int = _option(8, "LoRA: r.")
    lora_alpha: float = _option(16.0, "LoRA: alpha; the layers are scaled by alpha / r.")
    lora_dropout: float = _option(0.0, "LoRA: dropout.")
    lora_names: str = _option("att.*,ff.*", "LoRA: patterns of layers.")
    adapter: str | None = _option(None, "LoRA: start from this adapter.")
    train_only: str | None = _option(None, "Patterns of weights; others are frozen.")
    freeze: str | None = _option(None, "Patterns of weights that are frozen.")
    seed: int = _option(123, "Of new weights, data order and dropout.")
    eval_every: int | None = _option(None, "Steps between validations.")
    device: str = _option("cpu", "cpu, cuda or cuda:1.")
    precision: str = _option("float32", "On a GPU: float32, tf32 or bfloat16.")
    out: str | None = _option(None, "The run's folder [runs/NAME-N].")
    checkpoint_every: int = _option(100, "Steps between checkpoints.")
    keep: int = _option(3, "Checkpoints kept.")


@dataclasses.dataclass
class ClassifyOptions(FinetuneOptions):
    text_column: str = _option("text", "The texts' column.")
    label_column: str = _option("label", "The labels' column.")
    classes: str | None = _option(None, "The labels in order, such as ham,spam.")
    balance: bool | None = _option(
        None, "The same number of texts of each class.", "--balance/--no-balance"
    )
    val_fraction: float = _option(0.1, "Data kept for validation.")
    test_fraction: float = _option(0.2, "Data kept for the test.")
    batch_size: int = _option(16, "Examples in a batch.")
    pool: str = _option("last_real", "last, last_real, first or mean.")
    causal: bool = _option(True, "Tokens see only earlier tokens.", "--causal/--no-causal")
    tokenizer: str = _option("bpe", "Without a base: bpe, gpt2, or a file.")
    vocab_size: int | None = _option(None, "Without a base: bpe's vocabulary size [1024].")
    context_length: int = _option(256, "Without a base: tokens that the model sees.")
    emb_dim: int = _option(128, "Without a base: channels.")
    n_heads: int = _option(4, "Without a base: attention heads.")
    n_layers: int = _option(4, "Without a base: transformer blocks.")
    worst: int = _option(5, "Texts with the highest loss to show.")


@dataclasses.dataclass
class InstructOptions(FinetuneOptions):
    style: str = _option("alpaca", "Style of prompts: alpaca or phi3.")
    mask_instruction: bool = _option(
        False, "Train on the responses only.", "--mask-instruction/--no-mask-instruction"
    )
    answers: int | None = _option(None, "Test instructions to answer [all].")
    answer_tokens: int = _option(60, "Tokens of an answer.")


@dataclasses.dataclass
class DPOOptions(FinetuneOptions):
    style: str = _option("alpaca", "Style of prompts: alpaca or phi3.")
    beta: float = _option(0.1, "How close the model stays to the reference.")
    label_smoothing: float = _option(0.0, "Share of pairs that may be wrong.")
    average: bool = _option(False, "Divide by the response's length.", "--average/--no-average")
    skip_unusable: bool | None = _option(
        None, "Leave out equal or empty pairs.", "--skip-unusable/--no-skip-unusable"
    )
    answers: int = _option(3, "Test prompts to answer, before and after training.")
    answer_tokens: int = _option(60, "Tokens of an answer.")


# The options that may be changed when a run is resumed.
MAY_CHANGE = ("device", "precision", "steps", "epochs", "eval_every", "checkpoint_every", "keep",
              "worst", "answers", "answer_tokens")  # fmt: skip


def command(kind: type[FinetuneOptions], run: Callable[..., None]) -> Callable[..., None]:
    """A function for typer: DATA, an option for each field of `kind`, and --config ... --plain.

    It calls run(given, settings of --config, resume=, plan=, find_lr=, plain=); `given` has only
    the options that were given.
    """
    hints = typing.get_type_hints(kind)
    parameters = []
    for field in dataclasses.fields(kind):
        hint = hints[field.name]
        optional = hint if type(None) in typing.get_args(hint) else hint | None
        text = field.metadata["help"]
        if field.default is not None and not isinstance(field.default, bool):
            text += f" [{field.default:g}]" if isinstance(field.default, float) else (
                f" [{field.default}]"
            )  # fmt: skip
        if field.name == "data":
            default = typer.Argument(None, help=text)
        else:
            flag = field.metadata["flag"]
            default = typer.Option(None, *([flag] if flag else []), help=text, show_default=False)
        parameters.append((field.name, optional, default))
    parameters += [
        ("config", str | None, typer.Option(None, help="A JSON or TOML file of options.")),
        ("resume", str | None, typer.Option(None, help="Resume the run in this folder.")),
        ("plan", bool, typer.Option(False, "--plan", help="Only print what it would cost.")),
        ("find_lr", bool, typer.Option(False, "--find-lr", help="Only look for a good --lr.")),
        ("plain", bool, typer.Option(False, "--plain", help="Plain lines, no live bar.")),
    ]

    def call(**values: Any) -> None:
        arguments = {name: values.pop(name) for name in NOT_STORED}
        given = {name: value for name, value in values.items() if value is not None}
        config = arguments.pop("config")
        settings = read_config(config, kind) if config else {}
        run(given, settings, **arguments)

    call.__signature__ = inspect.Signature(  # type: ignore[attr-defined]
        [
            inspect.Parameter(
                name, inspect.Parameter.KEYWORD_ONLY, default=default, annotation=annotation
            )
            for name, annotation, default in parameters
        ]
    )
    call.__annotations__ = {name: annotation for name, annotation, _ in parameters}
    return call


def resolve(kind: type[O], *layers: Mapping[str, Any]) -> O:
    """The options: defaults, then layer over layer.

    Raises: BadValue for a value that is not allowed.
    """
    options = layered(kind(), layers, "epochs")
    check(options)
    return options


def check(o: FinetuneOptions) -> None:
    """Raises: BadValue for the first option whose value is not allowed, with what it must be."""
    check_values(o)
    if isinstance(o, ClassifyOptions) and o.val_fraction + o.test_fraction >= 1:
        raise BadValue("--val-fraction and --test-fraction leave nothing to train on")
    if o.train_only is not None and o.freeze is not None:
        raise BadValue("--train-only and --freeze were both given: take one of them")
    if o.lora and (o.train_only or o.freeze):
        raise BadValue("--lora freezes the base: leave --train-only and --freeze out")
