"""The options of a pretraining run, and presets of them from half a minute to a night.

Three layers, each over the one before: the preset, a configuration file, what is given by hand.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, ClassVar

from ..data.shard_batches import PACKINGS
from .devices import MachineOptions
from .memory_needed import check_model
from .options import (
    AT_LEAST_1,
    FRACTION,
    MUP_OPTIMIZERS,
    NOT_NEGATIVE,
    OPTIMIZERS,
    POSITIVE,
    SCHEDULES,
    SHARE_BELOW_1,
    UP_TO_256,
    OptimizerOptions,
    OptionError,
    Rule,
    TrainingOptions,
    again,
    blame,
    did_you_mean,
    option,
)
from .settings import layered

if TYPE_CHECKING:
    from ..models.config import ModelConfig

__all__ = ["PRESETS", "PretrainOptions", "model_config", "presets_table", "resolve"]


@dataclasses.dataclass
class PretrainOptions(MachineOptions, OptimizerOptions):
    """Every option of a pretraining run; the defaults are the preset `small`."""

    instead_of_steps: ClassVar[str | None] = "minutes"

    corpus: str = option(
        "python-reference", "A data set, a file or a folder.", None, "data", argument=True,
        may_change=True,  # the file may have moved: its SHA-256 tells
    )  # fmt: skip
    data: str | None = option(
        None, "In place of CORPUS: shards of prepare; A=3,B=1: weights.", None, "data",
        may_change=True, about_default="CORPUS",  # their manifest tells whether they are the same
    )  # fmt: skip
    packing: str = option(
        "windows", "Of --data: windows, documents, or isolated: attention within each.",
        Rule(lambda v: v in PACKINGS, ", ".join(PACKINGS)), "data",
    )  # fmt: skip
    preset: str = option("small", "Size and time: tiny, small, medium, ...", None, "data")
    minutes: float | None = option(
        3.0, "Time to train.", POSITIVE, "length", about_default="the steps say"
    )
    steps: int | None = again(
        TrainingOptions, "steps", None, help="Or: steps to train.",
        about_default="as many as fit into the minutes",
    )  # fmt: skip
    tokenizer: str = option(
        "bpe", "bpe, wordpiece, unigram (each -mecab), char, gpt2, or a file.", None, "model"
    )
    model: str = option("gpt", "gpt, llama, qwen2, ..., bert, roberta, ...", None, "model")
    vocab_size: int = option(
        1024, "Vocabulary size of bpe, wordpiece or unigram.", AT_LEAST_1, "model"
    )
    context_length: int = option(128, "Tokens the model sees.", AT_LEAST_1, "model")
    emb_dim: int = option(192, "Channels.", AT_LEAST_1, "model")
    n_heads: int = option(6, "Attention heads.", AT_LEAST_1, "model")
    n_layers: int = option(4, "Transformer blocks.", UP_TO_256, "model")
    drop_rate: float = option(0.1, "Dropout.", SHARE_BELOW_1, "model")
    qkv_bias: bool = option(False, "A bias for queries, keys and values.", None, "model")
    tie_weights: bool = option(True, "The output layer is the embedding.", None, "model")
    attention: str = option("mha", "mha, gqa, mqa, swa, mla, deltanet, ...", None, "model")
    feed_forward: str = option(
        "dense", "dense (GELU), relu2, swiglu, or moe: experts.", None, "model"
    )
    positions: str = option(
        "learned", "learned, sinusoidal, rotary, alibi, t5 or none.", None, "model"
    )
    n_kv_heads: int | None = option(
        None, "Heads of keys and values.", AT_LEAST_1, "model", about_default="by the attention"
    )
    window: int | None = option(
        None, "Of swa: tokens that a token sees.", AT_LEAST_1, "model",
        about_default="a quarter of the context",
    )  # fmt: skip
    latent_dim: int | None = option(
        None, "Of mla: channels that are kept.", AT_LEAST_1, "model",
        about_default="a quarter of the channels",
    )  # fmt: skip
    ratio: int = option(0, "So many such blocks, then a full one.", NOT_NEGATIVE, "model")
    sinks: bool = option(False, "A learned logit of each head in softmax.", None, "model")
    n_experts: int = option(8, "Of moe.", UP_TO_256, "model")
    n_experts_per_token: int = option(2, "Of moe.", AT_LEAST_1, "model")
    z_loss: float = option(0.0, "Of moe: share of router_z_loss.", SHARE_BELOW_1, "model")
    norm: str = option("layer", "layer, or rms: RMSNorm.", None, "model")
    qk_norm: bool = option(False, "An RMSNorm of queries and keys.", None, "model")
    value_embeddings: bool = option(False, "A table of tokens added to values.", None, "model")
    logit_softcap: float | None = option(
        None, "Logits stay between -c and c.", POSITIVE, "model", about_default="does not cap"
    )
    init: str = option("gpt2", "gpt2, normal, torch, or zero: projections.", None, "model")
    mup_base: int | None = option(
        None, "Channels at which --lr was found (µP).", AT_LEAST_1, "model",
        about_default="the rate is of these channels",
    )  # fmt: skip
    mask_probability: float = option(0.15, "Of bert: share that is hidden.", FRACTION, "model")
    whole_words: bool = option(True, "Of bert: hide all tokens of a word.", None, "model")
    gradient_checkpointing: bool = option(
        False, "Less memory, more time, the same numbers.", None, "model", may_change=True
    )
    batch_size: int = again(OptimizerOptions, "batch_size", 16, help="Windows in a batch.")
    lr: float = again(OptimizerOptions, "lr", 3e-3)
    warmup: int = again(
        OptimizerOptions, "warmup", 100, help="Steps until the highest rate.", about_default=""
    )
    beta2: float = again(OptimizerOptions, "beta2", 0.99)
    optimizer: str = option(
        "adamw", "adamw, muon, lion, adafactor, schedule-free.",
        Rule(lambda v: v in OPTIMIZERS, ", ".join(OPTIMIZERS)),
    )  # fmt: skip
    schedule: str | None = option(
        None, "After the warm-up: cosine, wsd or constant.",
        Rule(lambda v: v in SCHEDULES, ", ".join(SCHEDULES)),
        about_default="cosine; of schedule-free constant",
    )  # fmt: skip
    batch_ramp: float = again(TrainingOptions, "batch_ramp", 0.0, shown=True)
    ema: float | None = again(TrainingOptions, "ema", None, shown=True)
    noise_scale: bool = again(TrainingOptions, "noise_scale", False, shown=True)
    decay: float = option(0.2, "Of wsd: share of the steps that fall.", SHARE_BELOW_1)
    seed: int = again(OptimizerOptions, "seed", 1, help="Of weights, data order and dropout.")
    val_fraction: float = option(0.1, "Text kept for validation.", FRACTION, "report")
    prompt: str | None = option(
        None, "How samples begin.", None, "report", may_change=True,
        about_default="beginnings of lines of the text",
    )  # fmt: skip
    sample_tokens: int = option(100, "Tokens in a sample.", NOT_NEGATIVE, "report", may_change=True)
    temperature: float = option(
        0.8, "Of samples; 0 is greedy.", NOT_NEGATIVE, "report", may_change=True
    )
    top_k: int | None = option(
        40, "Sample from the k likeliest.", AT_LEAST_1, "report", may_change=True
    )
    graph: bool | None = again(TrainingOptions, "graph", None)

    def check(self) -> None:
        """Also: the heads divide the channels, the model fits the machine, the device is there.

        Raises: OptionError for the first value that is not allowed.
        """
        super().check()
        if self.optimizer == "schedule-free" and self.shard != "none":
            raise OptionError("`shard` divides no average: leave it out with schedule-free")
        if self.optimizer in ("muon", "adafactor") and self.shard in ("zero2", "fsdp"):
            raise OptionError(
                f"`shard` {self.shard} cuts matrices into parts, and {self.optimizer} needs them "
                "whole: take zero1, adamw or lion"
            )
        if self.optimizer == "schedule-free" and (self.beta1 == 0 or self.schedule == "wsd"):
            raise OptionError(
                "`optimizer` schedule-free needs a `beta1` above 0, and its average takes the "
                "place of the fall of wsd"
            )
        self._check_average()
        self._check_data()
        if self.prompt == "":
            raise OptionError("`prompt` must be at least one character")
        if self.emb_dim % self.n_heads:
            best = nearest_divisor(self.emb_dim, self.n_heads)
            raise OptionError(
                f"`n_heads` {self.n_heads} does not divide `emb_dim` {self.emb_dim}: each head "
                f"takes an equal share of the channels; {best} heads are possible"
            )
        check_model(self)
        model_config(self, self.vocab_size)

    def _check_average(self) -> None:
        """Raises: OptionError for an average, a noise scale or µP that does not fit the others."""
        if self.ema is not None and self.optimizer == "schedule-free":
            raise OptionError("`ema`: schedule-free has an average of the weights already")
        if self.ema is not None and self.shard in ("zero2", "fsdp"):
            raise OptionError(f"`ema` needs whole weights on each rank, not `shard` {self.shard}")
        if self.noise_scale and self.shard in ("zero2", "fsdp"):
            raise OptionError(f"`noise_scale` needs whole gradients, not `shard` {self.shard}")
        if self.mup_base not in (None, self.emb_dim) and self.optimizer not in MUP_OPTIMIZERS:
            raise OptionError(
                f"`mup_base` has a rule for {' and '.join(MUP_OPTIMIZERS)} only, `optimizer` is "
                f"{self.optimizer}"
            )

    def _check_data(self) -> None:
        """Raises: OptionError for options that do not fit shards, or that need them."""
        declared = self.declared()
        if self.data is None:
            if self.packing != "windows":
                raise OptionError(f"`packing` {self.packing} needs `data`, shards of prepare")
            return
        for name in ("corpus", "tokenizer", "val_fraction"):
            if getattr(self, name) != declared[name].default:
                raise OptionError(
                    f"`{name}` and `data` exclude each other: shards have their text, tokenizer "
                    "and validation documents already"
                )
        if self.packing == "isolated" and self.gradient_checkpointing:
            raise OptionError("`packing` isolated and `gradient_checkpointing` exclude each other")


def nearest_divisor(number: int, near: int) -> int:
    """A divisor of `number` that is near: the nearest, unless it is more than 10,000 away.

    Of two that are equally near the smaller one is returned.
    """
    for distance in range(min(near, 10_000)):
        for divisor in (near - distance, near + distance):
            if divisor <= number and number % divisor == 0:
                return divisor
    return math.gcd(number, near)


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
    # For the free texts of `prepare packages --vocab-size 4096`: 18.2 M parameters, 19 MB as Q8_0.
    # Rate and batch are those of DeepSeek's law for this compute (2.7e-3 and 70,000 tokens; Bi et
    # al., 2024, figure 3); 262 M tokens are about ten passes.
    "packages": dict(
        minutes=None, steps=4000, model="llama", context_length=1024, batch_size=64, emb_dim=384,
        n_heads=6, n_layers=10, drop_rate=0.1, lr=3e-3, min_lr=3e-5, warmup=300, beta2=0.98,
        weight_decay=0.1, schedule="wsd", decay=0.4, eval_every=250, checkpoint_every=1000,
        sample_every=1000,
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
    "packages": "ten minutes on a large GPU; --data of `prepare packages`",
    "nanogpt-char": "nanoGPT's CPU example: 2,000 steps on the characters of Shakespeare",
}


GPT_ONLY = (
    "qkv_bias", "attention", "feed_forward", "positions", "n_kv_heads", "window", "ratio",
    "latent_dim", "sinks", "n_experts", "n_experts_per_token", "z_loss", "norm", "qk_norm",
    "value_embeddings", "logit_softcap", "init", "mup_base",
)  # fmt: skip


MASKED_ONLY = ("mask_probability", "whole_words")


def model_config(options: PretrainOptions, vocab_size: int) -> ModelConfig:
    """The config of the model that the options describe.

    What they do not say (in a Llama the width of the feed forward, the heads of keys) follows from
    the family's preset "tiny".
    Raises: OptionError if there is no such model, or it cannot have such a shape.
    """
    from ..models.registry import masked, trainable  # the command line reads options without them

    families = {**trainable(), **masked()}
    if options.model not in families:
        raise OptionError(
            f"`model`: there is no model {options.model}{did_you_mean(options.model, families)}"
        )
    names = ["context_length", "emb_dim", "n_heads", "n_layers", "drop_rate", "tie_weights"]
    if options.model == "gpt":
        names += GPT_ONLY
    for name in GPT_ONLY:
        if options.model != "gpt" and getattr(options, name) != options.declared()[name].default:
            raise OptionError(f"`{name}` is a choice of gpt only, `model` is {options.model}")
    for name in MASKED_ONLY:
        default = options.declared()[name].default
        if options.model not in masked() and getattr(options, name) != default:
            raise OptionError(
                f"`{name}` is a choice of {', '.join(masked())}, `model` is {options.model}"
            )
    sizes = {name: getattr(options, name) for name in names}
    if options.model == "roberta":  # all windows are full: positions need no id of padding
        sizes["pad_token_id"] = None
    with blame("`model`", ValueError):
        config = families[options.model].presets["tiny"]
        sizes |= config.dropout(options.drop_rate)
        return config.resized(vocab_size=vocab_size, **sizes)


def presets_table() -> str:
    """The presets, one per line, for --help."""
    lines = []
    for name, values in PRESETS.items():
        o = dataclasses.replace(PretrainOptions(), **values)
        size = f"{o.n_layers} layers, {o.n_heads} heads, {o.emb_dim} channels"
        lines.append(f"{name:<13} {size:<33} context {o.context_length:<5} {_ABOUT[name]}")
    return "\n".join(lines)


def resolve(
    given: Mapping[str, Any], config: Mapping[str, Any], base: Mapping[str, Any] | None = None
) -> PretrainOptions:
    """The options of a run: `given` over `config` over the preset (or `base`, a run to resume).

    Raises: OptionError if there is no such preset, or for a value that is not allowed.
    """
    preset = given.get("preset") or config.get("preset") or (base or {}).get("preset") or "small"
    if preset not in PRESETS:
        raise OptionError(f"`preset`: there is no preset {preset}{did_you_mean(preset, PRESETS)}")
    options = dataclasses.replace(PretrainOptions(), preset=preset, **PRESETS[preset])
    options = layered(options, (base or {}, config, given))
    options.check()
    return options
