"""The settings of a pretraining run: presets, configuration files, and which values are allowed.

Three layers, each over the one before: the preset, the file of --config, the command line.
"""

from __future__ import annotations

import dataclasses
import json
import math
import sys
import typing
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from .devices import check_device
from .errors import BadValue, did_you_mean

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

__all__ = [
    "MAY_CHANGE",
    "MODEL_KEYS",
    "NOT_STORED",
    "PRESETS",
    "PretrainOptions",
    "check_values",
    "layered",
    "must_be",
    "presets_table",
    "read_config",
    "resolve",
]

O = TypeVar("O", bound="DataclassInstance")  # the options of a command


@dataclasses.dataclass
class PretrainOptions:
    """Every setting of a run; the defaults are the preset `small`."""

    corpus: str = "python-reference"
    preset: str = "small"
    minutes: float | None = 3.0  # as many steps as fit into this time
    steps: int | None = None  # in place of minutes
    tokenizer: str = "bpe"
    vocab_size: int = 1024
    context_length: int = 128
    emb_dim: int = 192
    n_heads: int = 6
    n_layers: int = 4
    drop_rate: float = 0.1
    qkv_bias: bool = False
    tie_weights: bool = True
    gradient_checkpointing: bool = False
    batch_size: int = 16
    accumulation: int = 1
    lr: float = 3e-3
    min_lr: float | None = None  # a tenth of lr
    warmup: int = 100
    beta1: float = 0.9
    beta2: float = 0.99
    weight_decay: float = 0.1
    clip: float = 1.0
    val_fraction: float = 0.1
    eval_every: int | None = None
    sample_every: int | None = None
    prompt: str | None = None
    sample_tokens: int = 100
    temperature: float = 0.8
    top_k: int | None = 40
    seed: int = 1
    device: str = "cpu"
    precision: str = "float32"
    graph: bool | None = None  # on a GPU; None: if it is possible
    out: str | None = None
    checkpoint_every: int = 100
    keep: int = 3


PRESETS: dict[str, dict[str, Any]] = {
    "tiny": dict(
        minutes=0.5, vocab_size=512, context_length=64, emb_dim=64, n_heads=4, n_layers=2,
        warmup=50, drop_rate=0.0,
    ),
    "small": {},
    "medium": dict(
        minutes=30.0, vocab_size=2048, context_length=256, emb_dim=256, n_heads=8, n_layers=6,
        drop_rate=0.1, lr=1e-3,
    ),
    "large": dict(
        minutes=480.0, tokenizer="gpt2", context_length=512, batch_size=8, emb_dim=512, n_heads=8,
        n_layers=8, drop_rate=0.1, lr=6e-4,
    ),
    "gpt2-124m": dict(
        minutes=1440.0, tokenizer="gpt2", context_length=1024, batch_size=4, accumulation=4,
        emb_dim=768, n_heads=12, n_layers=12, drop_rate=0.1, qkv_bias=True, lr=4e-4,
        checkpoint_every=25,
    ),
    # nanoGPT's command for a CPU, but with three times its learning rate. With its 1e-3 the
    # validation loss ends at 1.90 (1.91 in PyTorch), with 3e-3 at 1.78.
    "nanogpt-char": dict(
        corpus="tinyshakespeare", tokenizer="char", steps=2000, minutes=None, context_length=64,
        batch_size=12, emb_dim=128, n_heads=4, n_layers=4, drop_rate=0.0, lr=3e-3, min_lr=1e-4,
        warmup=100, beta1=0.9, beta2=0.99, weight_decay=0.1, clip=1.0, eval_every=250,
        checkpoint_every=500,
    ),
}  # fmt: skip
_ABOUT = {
    "tiny": "half a minute: a first test",
    "small": "three minutes; the default",
    "medium": "half an hour",
    "large": "a night; GPT-2's tokenizer",
    "gpt2-124m": "GPT-2's smallest size; days on a CPU, can be stopped and resumed",
    "nanogpt-char": "nanoGPT's CPU example: 2,000 steps on the characters of Shakespeare",
}
MODEL_KEYS = (
    "context_length", "emb_dim", "n_heads", "n_layers", "drop_rate", "qkv_bias", "tie_weights",
)  # fmt: skip
# The options that may be changed when a run is resumed: steps, what is shown and kept,
# less memory for more time, the device.
MAY_CHANGE = (
    "steps", "eval_every", "sample_every", "prompt", "sample_tokens", "temperature", "top_k",
    "checkpoint_every", "keep", "gradient_checkpointing", "device", "precision",
    "graph",
)  # fmt: skip

# Arguments of a command that are not settings of the run.
NOT_STORED = ("config", "resume", "plan", "find_lr", "plain")


def presets_table() -> str:
    """The presets, one per line, for --help."""
    lines = []
    for name, values in PRESETS.items():
        o = dataclasses.replace(PretrainOptions(), **values)
        size = f"{o.n_layers} layers, {o.n_heads} heads, {o.emb_dim} channels"
        lines.append(f"{name:<13} {size:<33} context {o.context_length:<5} {_ABOUT[name]}")
    return "\n".join(lines)


def read_config(path: str | Path, kind: type = PretrainOptions) -> dict[str, Any]:
    """The settings in a JSON or TOML file, names with dashes or underscores.

    Raises: BadValue if it cannot be read, or a name or a type is wrong.
    """
    path = Path(path)
    try:
        text = path.read_text("utf-8")
    except FileNotFoundError:
        raise BadValue(f"--config: there is no file {path}") from None
    except IsADirectoryError:
        raise BadValue(f"--config: {path} is a folder, not a JSON or TOML file") from None
    except UnicodeDecodeError as error:
        raise BadValue(f"--config: {path} is not UTF-8 (byte {error.start})") from error
    try:
        values = _toml(text) if path.suffix.lower() == ".toml" else json.loads(text)
    except ValueError as error:
        raise BadValue(f"--config: {path} cannot be read: {error}") from error
    if not isinstance(values, dict):
        raise BadValue(f"--config: {path} should hold names and values, one table of them")
    return checked({key.replace("-", "_"): value for key, value in values.items()}, str(path), kind)


def _toml(text: str) -> Any:
    if sys.version_info >= (3, 11):
        import tomllib
    else:
        import tomli as tomllib
    return tomllib.loads(text)


def checked(values: Mapping[str, Any], where: str, kind: type = PretrainOptions) -> dict[str, Any]:
    """The values by name, integers turned into floats where a float is expected.

    where: the file, for messages; kind: the dataclass whose fields they are.
    Raises: BadValue for unknown names and wrong types.
    """
    hints = typing.get_type_hints(kind)
    right = {}
    for name, value in values.items():
        if name not in hints:
            raise BadValue(f"{where}: there is no option {name}{did_you_mean(name, hints)}")
        kinds = typing.get_args(hints[name]) or (hints[name],)
        if float in kinds and type(value) is int:
            value = float(value)
        if type(value) not in kinds:
            words = {int: "a whole number", float: "a number", bool: "true or false", str: "a text"}
            expected = " or ".join(words.get(kind, "nothing") for kind in kinds)
            raise BadValue(f"{where}: {name} should be {expected}, got {value!r}")
        right[name] = value
    return right


def resolve(
    given: Mapping[str, Any], config: Mapping[str, Any], base: Mapping[str, Any] | None = None
) -> PretrainOptions:
    """The options of a run: `given` over `config` over the preset (or `base`, a run to resume).

    Raises: BadValue if there is no such preset.
    """
    preset = given.get("preset") or config.get("preset") or (base or {}).get("preset") or "small"
    if preset not in PRESETS:
        raise BadValue(f"--preset: there is no preset {preset}{did_you_mean(preset, PRESETS)}")
    options = dataclasses.replace(PretrainOptions(), preset=preset, **PRESETS[preset])
    options = layered(options, (base or {}, config, given), "minutes")
    check(options)
    return options


def layered(options: O, layers: Iterable[Mapping[str, Any]], other: str) -> O:
    """The options with layer over layer of values.

    other: the name of what may be given in place of steps; it and steps set each other to None.
    Raises: BadValue if a layer has both.
    """
    for layer in layers:
        layer = dict(layer)
        if layer.get("steps") is not None and layer.get(other) is not None:
            raise BadValue(f"steps and {other} were both given: one follows from the other")
        if layer.get("steps") is not None:
            layer[other] = None
        elif layer.get(other) is not None:
            layer["steps"] = None
        options = dataclasses.replace(options, **layer)
    return options


# (options, whether a value is allowed, the allowed values in words): of pretrain and finetune.
RULES: tuple[tuple[str, Callable[[Any], bool], str], ...] = (
    (
        "steps vocab_size context_length emb_dim n_heads n_layers batch_size accumulation "
        "eval_every sample_every checkpoint_every keep top_k lora_rank max_length answer_tokens",
        lambda v: v >= 1,
        "at least 1",
    ),
    ("warmup sample_tokens answers worst", lambda v: v >= 0, "0 or more"),
    ("minutes epochs lr clip lora_alpha beta", lambda v: 0 < v < math.inf, "more than 0"),
    ("min_lr weight_decay temperature", lambda v: 0 <= v < math.inf, "0 or more"),
    ("beta1 beta2 drop_rate lora_dropout", lambda v: 0 <= v < 1, "0 or more and less than 1"),
    ("val_fraction test_fraction", lambda v: 0 < v < 1, "between 0 and 1"),
    ("label_smoothing", lambda v: 0 <= v < 0.5, "0 or more and less than 0.5"),
    ("seed", lambda v: 0 <= v < 2**63, "0 or more (below 2^63)"),
)


def must_be(flag: str, allowed: bool, expected: str, value: Any) -> None:
    """Raises: BadValue unless `allowed`; the line says what the option must be."""
    if not allowed:
        raise BadValue(f"--{flag} must be {expected}, got {value}")


def check_values(o: Any) -> None:
    """Raises: BadValue for the first option that breaks a rule, with what it must be.

    o: the dataclass of a command's options; None is always allowed.
    """
    for names, allowed, expected in RULES:
        for name in names.split():
            value = getattr(o, name, None)
            if value is not None:
                must_be(name.replace("_", "-"), allowed(value), expected, f"{value:g}")
    if o.min_lr is not None and o.lr is not None and o.min_lr > o.lr:
        raise BadValue(f"--min-lr {o.min_lr:g} is above --lr {o.lr:g}, from which it falls")
    check_device(o.device, o.precision)


def check(o: PretrainOptions) -> None:
    """Raises: BadValue for the first option whose value is not allowed, with what it must be."""
    check_values(o)
    if o.graph and (o.device == "cpu" or o.accumulation > 1):
        raise BadValue("--graph needs --device cuda and --accumulation 1")
    if o.prompt == "":
        raise BadValue("--prompt must be at least one character")
    if o.emb_dim % o.n_heads:
        near = [h for h in range(1, o.emb_dim + 1) if o.emb_dim % h == 0]
        best = min(near, key=lambda h: abs(h - o.n_heads))
        raise BadValue(
            f"--n-heads {o.n_heads} does not divide --emb-dim {o.emb_dim}: each head takes an "
            f"equal share of the channels; {best} heads are possible"
        )
