"""Encoders: token ids in, a vector for each token out, which has seen the whole text.

`Encoder` says what BERT and its relatives share, `MaskedEncoder` what a masked language model adds,
`ClassifyingEncoder` what classes of texts or of tokens add.

Shapes: B batch, T time (tokens), C channels (emb_dim), V vocabulary, K classes.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any, TypeVar

from .. import nn
from ..arrays.capture import capturing
from ..layers.feed_forward import activation_module
from ..layers.head import head_loss
from ..nn import functional as F
from ..nn.parameter import new_parameter
from ..tensor import Tensor
from .base import PretrainedModel, init_normal, run_blocks
from .padding import check_mask

_Some = TypeVar("_Some", bound="Encoder")

__all__ = [
    "LONGEST_NAME", "ClassifyingEncoder", "Encoder", "MaskedEncoder", "MaskedHead", "check_classes",
    "key_mask", "pooled", "with_head",
]  # fmt: skip


LONGEST_NAME = 1000  # characters of a class's name; it stands in tables and in a config's text


def check_classes(config: Any) -> None:
    """Raises: ValueError if a config's class_names are not n_classes names of usual length."""
    names = config.class_names
    if names is None:
        return
    if len(names) != config.n_classes:
        raise ValueError(
            f"{type(config).__name__}: class_names must be {config.n_classes} names, one for each "
            f"class, got {len(names)}"
        )
    long = next((name for name in names if len(name) > LONGEST_NAME), None)
    if long is not None:
        raise ValueError(
            f"{type(config).__name__}: class_names must have at most {LONGEST_NAME:,} characters "
            f"each, {long[:20]!r}... has {len(long):,}"
        )


def key_mask(attention_mask: Tensor | None, batch: int, time: int) -> Tensor | None:
    """An attention_mask (B, T), 1 for tokens and 0 for padding, as bool (B, 1, 1, T); None if None.

    Raises: TypeError if it is not a tensor of integers or bools; ValueError if its shape does not
    fit, or if a row has no token at all.
    """
    if attention_mask is None:
        return None
    check_mask(attention_mask, (batch, time))
    seen = attention_mask != 0  # (B, T)
    if capturing.graph is None and not bool(seen.any(-1).all()):
        raise ValueError("attention_mask has a row of zeros: a text needs a token to look at")
    return seen[:, None, None, :]  # (B, T) -> (B, 1, 1, T)


def pooled(x: Tensor, pool: str, attention_mask: Tensor | None = None) -> Tensor:
    """One vector for each text, from those of its tokens: x (B, T, C) -> (B, C).

    pool: "first" for the first token's, "mean" for the mean of all tokens' without padding
    attention_mask: (B, T), 1 for tokens and 0 for padding; None: every token counts
    """
    if pool == "first":
        return x[:, 0]  # (B, T, C) -> (B, C)
    if attention_mask is None:
        return x.mean(1)  # (B, T, C) -> (B, C)
    weight = attention_mask.to(x.dtype)  # (B, T)
    weight = weight / weight.sum(1, keepdim=True)
    return (x * weight.unsqueeze(-1)).sum(1)  # (B, T, C) -> (B, C)


class Encoder(PretrainedModel):
    """Token ids in, hidden states out; every token sees all others.

    A family writes `hidden_states`. Its config is the shape; heads are added by subclasses, which
    name in `body_class` the class without a head.
    """

    body_class: type[Encoder] | None = None

    def body(self) -> Encoder:
        """The encoder without its head; a copy, unless it has none."""
        kind = self.body_class
        return self if kind is None or kind is type(self) else with_head(self, kind)

    def check_ids(self, ids: Tensor) -> tuple[int, int]:
        """(B, T) of ids.

        Raises: ValueError if ids do not have 2 dimensions, or are longer than the context.
        """
        if ids.dim() != 2:
            raise ValueError(f"ids must have the shape (batch, time), got {tuple(ids.shape)}")
        B, T = ids.shape
        if self.context_length < T:
            raise ValueError(
                f"{T} tokens are longer than the context_length of {self.context_length}: pass "
                "fewer, or cut the text into pieces"
            )
        return B, T

    def through_blocks(self, x: Tensor, masks: Any, **options: Any) -> Tensor:
        """x (B, T, C) through `trf_blocks`: (B, T, C).

        masks: one for all blocks, or a list with one for each; options: what every block gets
        besides. With gradient checkpointing blocks keep their inputs only.
        """
        blocks: Any = self.trf_blocks
        each = masks if isinstance(masks, list) else [masks] * len(blocks)
        return run_blocks(
            blocks, x, checkpointed=self.gradient_checkpointing, masks=each, **options
        )

    def hidden_states(
        self, ids: Tensor, attention_mask: Tensor | None = None,
        token_type_ids: Tensor | None = None,
    ) -> Tensor:  # fmt: skip
        """A vector for each token of ids (B, T): (B, T, C).

        attention_mask: (B, T), 1 for tokens and 0 for padding, which no token looks at
        token_type_ids: integers (B, T), 0 for a first text and 1 for a second; all 0 if None
        Raises: ValueError for wrong shapes; IndexError for ids outside the vocabulary.
        """
        raise NotImplementedError(f"{type(self).__name__} must define hidden_states")

    def forward(
        self, ids: Tensor, attention_mask: Tensor | None = None,
        token_type_ids: Tensor | None = None,
    ) -> Tensor:  # fmt: skip
        """As `hidden_states`; with a head what it makes of them: logits (B, T, V)."""
        return self.hidden_states(ids, attention_mask, token_type_ids)


def with_head(encoder: Encoder, kind: type[_Some], **fields: Any) -> _Some:
    """A model of this class with a copy of the encoder's weights; what it has besides is random.

    kind: a class of the encoder's family, such as BertForTokenClassification or Bert
    fields: of the config that change, such as n_classes
    Raises: TypeError if the two are not of one family.
    """
    ours, theirs = (k.body_class or k for k in (type(encoder), kind))
    if not issubclass(ours, theirs):
        raise TypeError(
            f"{kind.__name__} has the encoder of a {theirs.__name__}: {type(encoder).__name__} has "
            "another one"
        )
    given = encoder.state_dict()
    if "n_classes" in fields:  # other classes: their names and their scores are new
        fields.setdefault("class_names", None)
        given = {name: array for name, array in given.items() if "classifier." not in name}
    model = kind(dataclasses.replace(encoder.config, **fields))
    first = next(iter(encoder.parameters()))
    model.to(first.dtype).to(first.device)
    kept = {name: given.get(name, own) for name, own in model.state_dict().items()}
    model.load_state_dict(kept)
    model.token_ids = dict(encoder.token_ids)
    return model.train(encoder.training)


class MaskedHead(nn.Module):
    """norm(f(W·x + b)), which comes before the output layer: x (…, C) -> (…, C).

    activation: the name of f; norm: makes the norm. Source: Devlin et al. (2018), "BERT", appendix.
    """

    def __init__(
        self, dim: int, activation: str, norm: Callable[[], nn.Module], bias: bool = True
    ) -> None:
        super().__init__()
        self.dense = nn.Linear(dim, dim, bias=bias)
        self.activation = activation_module(activation)
        self.norm = norm()

    def forward(self, x: Tensor) -> Tensor:
        return self.norm(self.activation(self.dense(x)))


class MaskedEncoder(Encoder):
    """What a masked language model adds to its encoder: logits of every place, and a loss.

    A family inherits from this and from its encoder, and calls `add_head` at the end.
    """

    transform: nn.Module
    out_head: nn.Linear

    def add_head(self, transform: nn.Module, bias: bool = True) -> None:
        """Adds `transform` (…, C) -> (…, C) and `out_head`, tied if the config says so."""
        config: Any = self.config
        C, V = config.emb_dim, config.vocab_size
        self.transform = transform
        shared = config.tie_weights and nn.init.skipping  # it needs no memory
        self.out_head = nn.Linear(C, V, bias=False, device="meta" if shared else None)
        if bias:
            self.out_head.bias = new_parameter(V)
            nn.init.zeros_(self.out_head.bias)
        if config.tie_weights:
            self.out_head.weight = self.get_submodule("tok_emb").weight

    def forward(
        self, ids: Tensor, attention_mask: Tensor | None = None,
        token_type_ids: Tensor | None = None,
    ) -> Tensor:  # fmt: skip
        """The logits of every place: ids (B, T) -> (B, T, V); see Encoder.hidden_states."""
        x = self.hidden_states(ids, attention_mask, token_type_ids)  # (B, T, C)
        return self.out_head(self.transform(x))  # (B, T, C) -> (B, T, V)

    def loss(
        self, ids: Tensor, labels: Tensor, attention_mask: Tensor | None = None,
        token_type_ids: Tensor | None = None, ignore_index: int = -100,
    ) -> Tensor:  # fmt: skip
        """The mean cross-entropy of labels (B, T), what stood where ids are masked; 0-d.

        Labels equal to ignore_index do not count: those of tokens that were left as they are. Only
        the N places that count go through the head, whose logits are most of the work.
        Raises: RuntimeError if the shapes differ.
        """
        if tuple(labels.shape) != tuple(ids.shape):
            raise RuntimeError(
                f"loss: labels must have the shape of ids, {tuple(ids.shape)}, got "
                f"{tuple(labels.shape)}"
            )
        x = self.hidden_states(ids, attention_mask, token_type_ids)  # (B, T, C)
        if capturing.graph is None:  # a graph has no place for a number of rows that changes
            counts = labels != ignore_index  # (B, T)
            if bool(counts.any()):
                x, labels = x[counts], labels[counts]  # (B, T, C), (B, T) -> (N, C), (N)
        return head_loss(self.out_head, self.transform(x), labels, ignore_index)


class ClassifyingEncoder(Encoder):
    """What a score for each class adds to an encoder: `classifier`, and a loss.

    A family inherits from this and from its encoder, calls `add_classifier` at the end, and says in
    `transformed` what comes before the classifier.

    pool: as in `pooled`; None: each token has its own scores
    """

    pool: str | None = None
    drop_head: nn.Dropout
    classifier: nn.Linear

    def add_classifier(self, *before: nn.Module) -> None:
        """Adds `classifier`, with dropout in front of it; before: new layers that init alike."""
        config: Any = self.config
        rate = config.classifier_drop_rate
        self.drop_head = nn.Dropout(config.drop_rate if rate is None else rate)
        self.classifier = nn.Linear(config.emb_dim, config.n_classes)
        for module in (*before, self.classifier):
            init_normal(module)

    def transformed(self, x: Tensor) -> Tensor:
        """What the family makes of x (…, C) before the classifier: (…, C)."""
        return x

    def forward(
        self, ids: Tensor, attention_mask: Tensor | None = None,
        token_type_ids: Tensor | None = None,
    ) -> Tensor:  # fmt: skip
        """The scores of a text (B, K), or of each token (B, T, K); see Encoder.hidden_states."""
        x = self.hidden_states(ids, attention_mask, token_type_ids)  # (B, T, C)
        if self.pool is not None:
            x = pooled(x, self.pool, attention_mask)  # (B, T, C) -> (B, C)
        return self.classifier(self.drop_head(self.transformed(x)))  # (…, C) -> (…, K)

    def loss(
        self, ids: Tensor, labels: Tensor, attention_mask: Tensor | None = None,
        token_type_ids: Tensor | None = None, ignore_index: int = -100,
    ) -> Tensor:  # fmt: skip
        """The mean cross-entropy of labels (B), of tokens (B, T), but those of ignore_index; 0-d.

        With one class of texts the mean squared error.
        """
        scores = self(ids, attention_mask, token_type_ids)  # (B, K) or (B, T, K)
        if self.pool is not None and scores.shape[-1] == 1:
            return F.mse_loss(scores.squeeze(-1), labels.to(scores.dtype))  # (B, 1) -> (B)
        return F.cross_entropy(scores.flatten(0, -2), labels.flatten(), ignore_index=ignore_index)
