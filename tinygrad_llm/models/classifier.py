"""A GPT that classifies texts: the output layer has a row for each class.

Everything up to the last norm is the GPT that it is made of, under the same names. One vector must
stand for the whole text; `pool` says which:

    "last"       the vector at the last place, T − 1, a token of the text or padding
    "last_real"  the vector of the last token before the padding
    "first"      the vector of the first token; it saw the text only if causal=False
    "mean"       the mean of the vectors of all tokens before the padding

Shapes: B batch, T time (tokens), C channels (emb_dim), K classes.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any, NoReturn

import numpy as np

from .. import nn
from ..arrays.devices import xp_of
from ..functions.creation.ranges import arange
from ..nn import functional as F
from ..tensor import Tensor, wrap
from .config import choice, flag, positive_integer, token_id
from .gpt import GPT, GPTConfig

__all__ = ["POOLS", "GPTClassifier", "GPTClassifierConfig", "real_lengths"]

POOLS = ("last", "last_real", "first", "mean")
END_OF_TEXT = 50256  # GPT-2's id of <|endoftext|>, its padding too


def real_lengths(ids: Tensor, pad_token_id: int = END_OF_TEXT) -> Tensor:
    """The number of tokens in each row before the padding at its end: (B, T) -> (B) int64.

    A row of padding alone counts as 1, so that `length - 1` is always the place of a token.
    """
    real = ids.array != pad_token_id  # (B, T)
    T = real.shape[-1]
    trailing = real[..., ::-1].argmax(-1)  # (B, T) -> (B): padding after the last real token
    lengths = (T - trailing) * real.any(-1)
    return wrap(lengths.clip(1, None).astype(np.int64))


@dataclass(frozen=True)
class GPTClassifierConfig(GPTConfig):
    """The shape of a GPT (see GPTConfig), and what makes it a classifier.

    n_classes       how many classes there are; labels are 0 … n_classes − 1
    pool            which vector stands for the text: "last", "last_real", "first" or "mean"
    causal          whether a token sees only those before it (as in the GPT) or all of the text;
                    with causal=False no token sees padding
    pad_token_id    the id that pads short texts

    Raises: ValueError or TypeError, which names the wrong value.
    """

    n_classes: int = positive_integer(2, minimum=2)
    pool: str = choice(POOLS, "last_real")
    causal: bool = flag(True)
    pad_token_id: int = token_id(END_OF_TEXT)


class GPTClassifier(GPT):
    """Token ids (B, T) in, a score for each class out (B, K); `loss` for training.

    config: a GPTClassifierConfig, or a dict of its fields. `GPTClassifier(config)` has random
    weights; `GPTClassifier.from_gpt(gpt, n_classes=2)` takes those of a trained GPT.
    """

    config: GPTClassifierConfig

    def __init__(self, config: GPTClassifierConfig | dict[str, Any]) -> None:
        if isinstance(config, dict):
            config = GPTClassifierConfig(**config)
        super().__init__(config)
        self._make_head()

    def _make_head(self) -> None:
        self.out_head = nn.Linear(self.config.emb_dim, self.config.n_classes)

    @classmethod
    def from_gpt(
        cls, gpt: GPT, n_classes: int = 2, pool: str = "last_real", causal: bool = True,
        pad_token_id: int = END_OF_TEXT, drop_rate: float | None = None,
    ) -> GPTClassifier:  # fmt: skip
        """A classifier with a GPT's weights (copies: the GPT stays as it is) and a new head.

        drop_rate: dropout in training; None for the GPT's. The head is drawn as nn.Linear draws its
        weights: after manual_seed(s) it equals nn.Linear(C, n_classes).
        Raises: TypeError if `gpt` is not a GPT, or is a classifier already.
        """
        if not isinstance(gpt, GPT) or isinstance(gpt, GPTClassifier):
            raise TypeError(f"GPTClassifier.from_gpt expects a GPT, got {type(gpt).__name__}")
        shape = asdict(gpt.config)
        if drop_rate is not None:
            shape["drop_rate"] = drop_rate
        config = GPTClassifierConfig(
            **shape, n_classes=n_classes, pool=pool, causal=causal, pad_token_id=pad_token_id
        )
        model = nn.utils.skip_init(cls, config)
        parameter = gpt.tok_emb.weight
        model._make_head()
        model.to(parameter.dtype).to(parameter.device)
        theirs = dict(gpt.named_parameters())
        for name, mine in model.named_parameters():
            if not name.startswith("out_head."):
                mine.array[...] = theirs[name].array
        return model

    def _mask(self, lengths: Tensor, T: int) -> Tensor | None:
        """None for the causal mask; else (B, 1, 1, T): every token may look at all real ones."""
        if self.config.causal:
            return None
        real = arange(T, device=lengths.device) < lengths.unsqueeze(1)  # (T) < (B, 1) -> (B, T)
        return real[:, None, None, :]  # (B, 1, 1, T)

    def features(self, idx: Tensor) -> Tensor:
        """The vector that stands for each text: (B, T) -> (B, C).

        Raises: IndexError or ValueError as GPT.hidden_states does; ValueError for texts without
        tokens.
        """
        if idx.dim() == 2 and idx.shape[1] == 0:
            raise ValueError("a text without tokens cannot be classified")
        pool, pad = self.config.pool, self.config.pad_token_id
        lengths = real_lengths(idx, pad)  # (B)
        T = idx.shape[-1]
        if pool != "last" and idx.dim() == 2:
            T = max(1, *lengths.tolist())
            idx = idx[:, :T]  # columns of padding alone change nothing
        x = self.hidden_states(idx, mask=self._mask(lengths, T))  # (B, T, C)
        if pool == "first":
            return x[:, 0]  # (B, C)
        if pool == "last":
            return x[:, -1]  # (B, C)
        if pool == "last_real":
            return x[arange(x.shape[0], device=x.device), lengths - 1]  # (B, C)
        places = xp_of(idx.array).arange(T)  # (T)
        weight = (places < lengths.array[:, None]) / lengths.array[:, None]  # (B, T)
        return (x * wrap(weight[..., None].astype(x.array.dtype))).sum(1)  # (B, T, C) -> (B, C)

    def forward(self, idx: Tensor) -> Tensor:  # type: ignore[override]
        """The score of each class: (B, T) -> (B, K)."""
        return self.out_head(self.features(idx))

    def loss(self, idx: Tensor, labels: Tensor, ignore_index: int = -100) -> Tensor:
        """The mean cross-entropy of labels (B) for the texts idx (B, T); 0-d.

        Raises: IndexError if a label is not a class.
        """
        return F.cross_entropy(self(idx), labels, ignore_index=ignore_index)

    def new_cache(self) -> NoReturn:
        """Raises: TypeError, because a classifier writes no text."""
        raise TypeError("a classifier writes no text, so it has no KV cache")
