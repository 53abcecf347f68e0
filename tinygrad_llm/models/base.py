"""What is the same for all language models: token ids in, logits out.

Training, generation, fine-tuning, LoRA and the instruments ask a LanguageModel only for what is
declared here; a family writes `hidden_states` and `new_cache`, and its output layer is `out_head`.

Shapes: B batch, T time (tokens), C channels, V vocabulary.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, TypeVar

from .. import nn, random
from ..autograd.grad_mode import no_grad
from ..functions.attention import context, positions_of
from ..layers import quantized
from ..layers.cache import Cache
from ..layers.head import head_loss
from ..layers.moe import Experts, MixtureOfExperts
from ..layers.quantized import QuantizedLinear
from ..layers.step import through as few_tokens_through
from ..layers.texts_cache import TextsCache
from ..nn.parameter import whole_numel
from ..tensor import Tensor, device
from ..utils.checkpoint import checkpoint
from .config import Config, ModelConfig
from .padding import padded_places, padding_counts, padding_of

_Some = TypeVar("_Some", bound="Model")
_Published = TypeVar("_Published", bound="PretrainedModel")

__all__ = [
    "LanguageModel",
    "Model",
    "ModelConfig",
    "PretrainedModel",
    "context_length_of",
    "device_of",
    "evaluation",
    "matrix_flops_per_token",
    "undisturbed",
    "init_normal",
    "run_blocks",
]


@contextmanager
def evaluation(model: Any) -> Iterator[None]:
    """Within it the model is in evaluation mode; afterwards each of its modules is as it was.

    A model that is in evaluation mode already, or is not a module, is left alone.
    """
    modules = list(model.modules()) if getattr(model, "training", False) else []
    before = [module.training for module in modules]
    for module in modules:
        vars(module)["training"] = False  # a flag: what __setattr__ checks would take longer
    try:
        yield
    finally:
        for module, training in zip(modules, before, strict=True):
            vars(module)["training"] = training


@contextmanager
def undisturbed(model: Any) -> Iterator[None]:
    """For a look at a model in the middle of its training: nothing of the run changes.

    Within it the model is in evaluation mode and no graph is recorded; afterwards the modes and the
    default random generator are as they were.
    """
    with no_grad(), random.fork_rng(), evaluation(model):
        yield


def device_of(model: Any) -> device | None:
    """The device of the model's first parameter; None if it has no parameters."""
    first = next(iter(model.parameters()), None) if hasattr(model, "parameters") else None
    return None if first is None else first.device


def context_length_of(model: Any) -> int | None:
    """The most tokens that a model sees; None if it is not one of ours and cannot say."""
    return model.context_length if isinstance(model, Model) else None


def _set_checkpointing(model: nn.Module, on: bool) -> None:
    for module in model.modules():
        if "gradient_checkpointing" in vars(module):  # it runs blocks
            module.gradient_checkpointing = on


def run_blocks(
    blocks: Iterable[nn.Module], x: Tensor, cache: Any = None, *, checkpointed: bool,
    masks: Sequence[Tensor | None] | None = None, **options: Any,
) -> Tensor:  # fmt: skip
    """x (B, T, C) through one block after the other, each with its part of the cache.

    checkpointed: whether blocks keep their inputs only, where there is no cache; masks: one for
    each block, in place of a mask for all; options: what every block gets besides
    """
    for i, block in enumerate(blocks):
        own = options if masks is None else {**options, "mask": masks[i]}
        if checkpointed and cache is None:
            x = checkpoint(block, x, **own)
        else:
            x = block(x, cache=None if cache is None else cache.layers[i], **own)
    return x


def init_normal(model: nn.Module, std: float = 0.02) -> None:
    """Draws all matrices from normal(0, std), experts' too; biases of linear layers become zero."""
    for module in model.modules():
        if isinstance(module, Experts):
            for weight in module.parameters():
                nn.init.normal_(weight, 0.0, std)
        if isinstance(module, nn.Linear | nn.Embedding):
            nn.init.normal_(module.weight, 0.0, std)
        if isinstance(module, nn.Linear) and module.bias is not None:
            nn.init.zeros_(module.bias)


def matrix_flops_per_token(model: nn.Module) -> float:
    """The part of Model.flops_per_token that matrices cost; for any module.

    A layer names in `elementwise` those of its parameters (tuple of names) that have a matrix's
    shape but multiply number by number; what they cost is in its own flops_per_token.
    """
    multiplied = {id(m.weight) for m in model.modules() if isinstance(m, nn.Linear)}
    looked_up = {id(m.weight) for m in model.modules() if isinstance(m, nn.Embedding)}
    apart = {
        id(getattr(m, name)) for m in model.modules() for name in getattr(m, "elementwise", ())
    }
    matrices = [
        p
        for p in model.parameters()
        if p.ndim >= 2 and id(p) not in apart and (id(p) in multiplied or id(p) not in looked_up)
    ]
    shares = {  # of an expert's weights that a token meets
        id(p): m.n_experts_per_token / m.n_experts
        for m in model.modules() if isinstance(m, MixtureOfExperts)
        for p in m.experts.parameters()
    }  # fmt: skip
    total = sum(
        (6.0 if p.requires_grad else 4.0) * whole_numel(p) * shares.get(id(p), 1.0)
        for p in matrices
    )
    frozen = {id(m.matrix): m.matrix.shape for m in model.modules()
              if isinstance(m, QuantizedLinear)}  # fmt: skip
    return total + sum(4.0 * rows * columns for rows, columns in frozen.values())


class Model(nn.Module):
    """What every model answers, a language model or one that is made of it.

    config: the shape of the model
    """

    config: Config

    @classmethod
    def from_config(cls: type[_Some], config: Any) -> _Some:
        """A new model of this shape, with random weights."""
        raise NotImplementedError(f"{cls.__name__} must define from_config")

    @property
    def context_length(self) -> int:
        """The most tokens that the model sees."""
        raise NotImplementedError(f"{type(self).__name__} must define context_length")

    @property
    def width_multiplier(self) -> float:
        """How many times wider than the model whose learning rate is used, for µP (models/mup.py);
        1 for models that do not have it."""
        return 1.0

    def n_parameters(self) -> int:
        """How many weights there are, the quantised ones too; tied weights count once."""
        return sum(whole_numel(p) for p in self.parameters()) + quantized.count(self)

    def flops_per_token(self, context_length: int) -> float:
        """Floating-point operations of forward and backward for one token of a text.

        6·N and what the layers compute between tokens (`flops_between_tokens`), in a text of
        context_length tokens. N counts the weights that a token is multiplied with (matrices,
        without embeddings that are only looked up); each costs a multiplication and an addition
        forward and twice that backward, once for the gradient of the input and once for the
        gradient of the weight. A frozen matrix needs no gradient: 4 in place of 6.
        Source: Kaplan et al., 2020, table 1, and Chowdhery et al., 2022, appendix B.
        """
        return matrix_flops_per_token(self) + self.flops_between_tokens(context_length)

    def flops_between_tokens(self, context_length: int) -> float:
        """The part of flops_per_token that does not come from weights: attention's scores.

        Every layer in which tokens meet has a method flops_per_token(context_length).
        """
        layers: Any = [m for m in self.modules() if not isinstance(m, Model)]
        mixing = [m for m in layers if hasattr(type(m), "flops_per_token")]
        return float(sum(m.flops_per_token(context_length) for m in mixing))

    def gradient_checkpointing_enable(self) -> None:
        """From now on blocks save only their inputs; the backward pass runs each forward again.

        Less memory for more time, and the same gradients to the last bit (see utils.checkpoint).
        """
        _set_checkpointing(self, True)

    def gradient_checkpointing_disable(self) -> None:
        """From now on blocks save all that the backward pass needs."""
        _set_checkpointing(self, False)


class PretrainedModel(Model):
    """A model of token ids whose weights are published in files, see models/pretrained.py.

    Its constructor takes the config, or a dict of the config's fields.
    """

    config: ModelConfig

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.config = config
        self.token_ids: dict[str, Any] = {}  # those of a config.json, which save_pretrained writes
        self.gradient_checkpointing = False

    @property
    def context_length(self) -> int:
        """The most tokens that the model sees."""
        return self.config.context_length

    @classmethod
    def from_config(cls: type[_Published], config: Any) -> _Published:
        """A new model of this shape, with random weights."""
        return cls(config)

    def changed(self: _Published, **fields: Any) -> _Published:
        """A copy of the model, with these fields of its config changed, such as drop_rate.

        Raises: TypeError if the config does not have such a field.
        """
        config = dataclasses.replace(self.config, **fields)
        other: _Published = nn.utils.skip_init(type(self), config)
        first = next(iter(self.parameters()))
        for parameter in other.parameters():
            parameter.array[...] = 0.0  # what uninitialised memory holds may not fit another dtype
        other.to(first.dtype).to(first.device)
        other.load_state_dict(self.state_dict())
        other.token_ids = dict(self.token_ids)
        return other


class LanguageModel(PretrainedModel):
    """Token ids in, logits out; `loss` for training, `tinygrad_llm.generation` for text.

    A family passes its config up, calls its output layer `out_head`, and writes `hidden_states` and
    `new_cache`. Its constructor takes the config, or a dict of the config's fields.
    """

    out_head: nn.Module

    @property
    def head(self) -> nn.Module:
        """The output layer: hidden states (..., C) to logits (..., V)."""
        return self.out_head

    def hidden_states(
        self, idx: Tensor, cache: Cache | None = None, *, mask: Tensor | None = None,
        padding: Tensor | None = None,
    ) -> Tensor:  # fmt: skip
        """The last layer's output for the tokens idx (B, T): (B, T, C), normalised, before `head`.

        cache: what the layers keep of the tokens before idx; that of idx is appended.
        mask: in place of the causal mask, bool, True where a token may look; broadcasts to
        (B, H, T, T).
        padding: int64 (B), how many padding tokens stand at the left of each row, counted from the
        beginning of the cache, so that the same tensor is passed at every step. Positions begin
        after the padding and no token looks at it: each row equals itself alone, without padding.
        Raises: ValueError if idx does not have 2 dimensions or is longer than the context, or if
        a mask comes together with a cache or with padding.
        """
        raise NotImplementedError(f"{type(self).__name__} must define hidden_states")

    def new_cache(self) -> Cache:
        """An empty cache for `forward`, with room for context_length tokens."""
        raise NotImplementedError(f"{type(self).__name__} must define new_cache")

    def places(
        self, idx: Tensor, cache: Cache | None, mask: Tensor | None, padding: Tensor | None
    ) -> tuple[Tensor, Tensor | None]:
        """Checks the arguments of `hidden_states`; returns the positions of idx, and its mask.

        Positions are (T), or (B, T) with padding, max(0, column − padding), and within documents
        (functions.attention.within_documents), counted from where each begins. The mask is the one
        passed; with padding it is (B, 1, T, past + T), causal and without what is padding, except
        that a padding token looks at itself, because softmax needs a key; otherwise None.
        Raises: see `hidden_states`.
        """
        if mask is not None and cache is not None:
            raise ValueError("pass a mask or a KV cache, not both: a cache needs the causal mask")
        if mask is not None and padding is not None:
            raise ValueError("pass a mask or padding, not both: a mask says what is padding too")
        if idx.dim() != 2:
            raise ValueError(f"idx must have the shape (batch, time), got {tuple(idx.shape)}")
        if isinstance(cache, TextsCache):
            if padding is not None:
                raise ValueError("texts that are computed together have no padding")
            return cache.positions(idx), None  # (N)
        past = 0 if cache is None else len(cache)
        B, T = idx.shape
        whole = past + T if context.length is None else context.length
        if whole > self.context_length:
            raise ValueError(
                f"{whole} tokens are longer than the context_length of {self.context_length}: "
                "pass the last ones only, idx[:, -context_length:]"
            )
        if context.attend is not None:
            self._check_divided(mask, padding)
        if padding is None:
            return positions_of(past, T, idx.device), mask  # (T)
        return padded_places(past, T, padding_counts(padding, B))

    def _check_divided(self, mask: Tensor | None, padding: Tensor | None) -> None:
        """Raises: RuntimeError if the model cannot read a text that is divided among ranks, or a
        row that is divided among documents."""
        what = "a text that is divided among ranks"
        if context.length is None:
            what = "a row that is divided among documents"
        if mask is not None or padding is not None:
            raise RuntimeError(f"{what} takes no mask and no padding")
        for module in self.modules():
            meets = hasattr(type(module), "flops_per_token") and not isinstance(module, Model)
            if meets and not getattr(module, "reads_divided_texts", False):
                raise RuntimeError(
                    f"a {type(module).__name__} cannot read {what}: only an Attention that needs "
                    "no mask can"
                )

    def through_blocks(
        self, blocks: nn.ModuleList, x: Tensor, cache: Any = None, **options: Any
    ) -> Tensor:
        """x (B, T, C) through one block after the other, each with its part of the cache.

        options: what every block gets besides, such as mask and positions. With gradient
        checkpointing blocks keep their inputs only. A few new tokens after those in a cache go
        through compiled loops where those know the layers (layers.step).
        """
        if cache is not None:
            y = few_tokens_through(blocks, x, cache, options)
            if y is not None:
                return y
        return run_blocks(blocks, x, cache, checkpointed=self.gradient_checkpointing, **options)

    def forward(
        self, idx: Tensor, cache: Cache | None = None, last_only: bool = False, *,
        padding: Tensor | None = None, attention_mask: Tensor | None = None,
    ) -> Tensor:  # fmt: skip
        """The logits of the next token after each token of idx: (B, T) -> (B, T, V).

        cache, padding: see `hidden_states`; `new_cache` makes a cache.
        last_only: logits of the last token only, (B, 1, V), as generation needs; with a TextsCache
        those of the last token of each text, (1, texts, V).
        attention_mask: in place of padding, (B, past + T), 1 for tokens and 0 for padding at the
        left or the right of each row. Each row's tokens equal itself alone, without padding; the
        logits of padding mean nothing.
        Raises: ValueError if both are passed, or zeros stand between ones; as `hidden_states`.
        """
        if attention_mask is not None:
            if padding is not None:
                raise ValueError("pass an attention_mask or padding, not both: they say the same")
            past = 0 if cache is None else len(cache)
            padding = padding_of(attention_mask, idx.shape[0], past + idx.shape[-1])
        x = self.hidden_states(idx, cache, padding=padding)
        if last_only:
            # (B, T, C) -> (B, 1, C), or of several texts (1, N, C) -> (1, texts, C)
            x = x[:, cache.ends if isinstance(cache, TextsCache) else slice(-1, None)]
        return self.head(x)

    def loss(self, idx: Tensor, targets: Tensor, ignore_index: int = -100) -> Tensor:
        """The mean cross-entropy of targets (B, T), the tokens that follow idx (B, T); 0-d.

        Equals cross_entropy(model(idx), targets), but the logits of the whole batch are never in
        memory together. Targets equal to ignore_index do not count.
        Raises: RuntimeError if the shapes differ.
        """
        if tuple(targets.shape) != tuple(idx.shape):
            raise RuntimeError(
                f"loss: targets must be the tokens that follow idx, of the same shape: idx is "
                f"{tuple(idx.shape)}, targets is {tuple(targets.shape)}"
            )
        return head_loss(self.head, self.hidden_states(idx), targets, ignore_index)
