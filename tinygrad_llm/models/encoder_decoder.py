"""Encoder-decoders: a source text is read once, and another text is written while looking at it.

    logits = model(ids, decoder_ids)          # training: the texts side by side
    loss = model.loss(ids, labels)            # labels: the text that is to be written
    generate(model.given(ids), [[start]], 50) # writing: `given` is a language model

Shapes: B batch, S length of the source, T length of the target, C channels (emb_dim), V vocabulary.
"""

from __future__ import annotations

from typing import Any

from .. import nn
from ..arrays.devices import xp_of
from ..functions.creation.filled import full
from ..functions.shape.join import cat
from ..layers.cache import Cache
from ..layers.head import head_loss
from ..nn import functional as F
from ..tensor import Tensor, wrap
from .base import LanguageModel, PretrainedModel, run_blocks
from .encoder import key_mask

__all__ = ["EncoderDecoder", "Given", "Stack"]


class Stack(nn.Module):
    """Blocks one after the other, then a norm: x (B, T, C) -> (B, T, C).

    norm: a module (B, T, C) -> (B, T, C), such as nn.Identity() for none
    """

    def __init__(self, blocks: list[nn.Module], norm: nn.Module) -> None:
        super().__init__()
        self.trf_blocks = nn.ModuleList(blocks)
        self.final_norm = norm
        self.gradient_checkpointing = False

    def forward(self, x: Tensor, cache: Cache | None = None, **options: Any) -> Tensor:
        """options: what every block gets, such as mask, memory and memory_mask; see Block."""
        checkpointed = self.gradient_checkpointing
        x = run_blocks(self.trf_blocks, x, cache, checkpointed=checkpointed, **options)
        return self.final_norm(x)


class EncoderDecoder(PretrainedModel):
    """Token ids of two texts in, logits of the second one out.

    A family makes `encoder` and `decoder`, two Stacks, and writes `embed_source`, `embed_target`,
    `logits` and `output_layer`. config.start_token_id is what a target begins with.
    """

    encoder: Stack
    decoder: Stack

    def embed_source(self, ids: Tensor) -> Tensor:
        """The encoder's input for ids (B, S): (B, S, C)."""
        raise NotImplementedError(f"{type(self).__name__} must define embed_source")

    def embed_target(self, ids: Tensor, positions: Tensor) -> Tensor:
        """The decoder's input for ids (B, T) at these positions, (T) or (B, T): (B, T, C)."""
        raise NotImplementedError(f"{type(self).__name__} must define embed_target")

    @property
    def output_layer(self) -> nn.Module:
        """What makes logits of the decoder's output: (…, C) -> (…, V)."""
        raise NotImplementedError(f"{type(self).__name__} must define output_layer")

    def encode(self, ids: Tensor, attention_mask: Tensor | None = None) -> Tensor:
        """What the decoder looks at: ids (B, S) -> memory (B, S, C).

        attention_mask: (B, S), 1 for tokens and 0 for padding, at whichever side
        Raises: ValueError for wrong shapes, or a source longer than the context.
        """
        if ids.dim() != 2:
            raise ValueError(f"ids must have the shape (batch, time), got {tuple(ids.shape)}")
        B, S = ids.shape
        if self.context_length < S:
            raise ValueError(
                f"the source has {S} tokens, more than the context_length of {self.context_length}"
            )
        return self.encoder(self.embed_source(ids), mask=key_mask(attention_mask, B, S))

    def given(self, ids: Tensor, attention_mask: Tensor | None = None) -> Given:
        """The decoder as a language model that looks at these sources: ids (B, S).

        It writes a text for each row, and is for generation too: `generation.generate`.
        Raises: as `encode`.
        """
        memory = self.encode(ids, attention_mask)
        return Given(self, memory, key_mask(attention_mask, *ids.shape))

    def forward(
        self, ids: Tensor, decoder_ids: Tensor, attention_mask: Tensor | None = None,
        decoder_attention_mask: Tensor | None = None,
    ) -> Tensor:  # fmt: skip
        """Logits of the token after each of decoder_ids (B, T): (B, T, V), given ids (B, S).

        attention_mask (B, S) and decoder_attention_mask (B, T): 1 for tokens, 0 for padding
        Raises: as `encode`; as LanguageModel.forward for the target.
        """
        given = self.given(ids, attention_mask)
        return given(decoder_ids, attention_mask=decoder_attention_mask)

    def shifted(self, labels: Tensor, ignore_index: int = -100) -> Tensor:
        """What the decoder reads to write labels (B, T): the start token, then all except the last.

        Labels equal to ignore_index become padding.
        """
        config: Any = self.config
        B, T = labels.shape
        start = full((B, 1), config.start_token_id, dtype=labels.dtype, device=labels.device)
        ids = cat([start, labels[:, : T - 1]], 1)  # (B, 1) and (B, T − 1) -> (B, T)
        return ids.masked_fill(ids == ignore_index, config.pad_token_id)

    def loss(
        self, ids: Tensor, labels: Tensor, attention_mask: Tensor | None = None,
        ignore_index: int = -100, label_smoothing: float = 0.0,
    ) -> Tensor:  # fmt: skip
        """The mean cross-entropy of labels (B, T), the whole text to write with its end; 0-d.

        Labels equal to ignore_index do not count: padding at the right.
        label_smoothing: the share of a target's probability that all tokens get (section 5.4 of
        Vaswani et al., 2017)
        Raises: ValueError for wrong shapes.
        """
        given = self.given(ids, attention_mask)
        hidden = given.hidden_states(self.shifted(labels, ignore_index))  # (B, T, C)
        if not label_smoothing:
            return head_loss(self.output_layer, hidden, labels, ignore_index)
        logits = self.output_layer(hidden).flatten(0, 1)  # (B, T, V) -> (B·T, V)
        return F.cross_entropy(
            logits, labels.flatten(), ignore_index=ignore_index, label_smoothing=label_smoothing
        )


class Given(LanguageModel):
    """An encoder-decoder's decoder that looks at one batch of sources: a language model.

    model: the encoder-decoder; memory (B, S, C) and memory_mask (B, 1, 1, S): what it looks at.
    Of n·B rows the first n look at the first source, the next n at the second: beams.
    """

    def __init__(
        self, model: EncoderDecoder, memory: Tensor, memory_mask: Tensor | None = None
    ) -> None:
        super().__init__(model.config)
        self.model, self.memory, self.memory_mask = model, memory, memory_mask
        self.train(model.training)

    @property
    def out_head(self) -> nn.Module:  # type: ignore[override]
        """The output layer of the model."""
        return self.model.output_layer

    def hidden_states(
        self, idx: Tensor, cache: Cache | None = None, *, mask: Tensor | None = None,
        padding: Tensor | None = None,
    ) -> Tensor:  # fmt: skip
        """The decoder's output for the tokens idx (B, T): (B, T, C); see LanguageModel.

        Raises: ValueError if the batch is not that of the sources, or as LanguageModel says.
        """
        positions, mask = self.places(idx, cache, mask, padding)
        memory, memory_mask = self._for_rows(idx.shape[0])
        x = self.model.embed_target(idx, positions)
        return self.model.decoder(
            x, cache, mask=mask, positions=positions, memory=memory, memory_mask=memory_mask
        )

    def _for_rows(self, rows: int) -> tuple[Tensor, Tensor | None]:
        """Memory and its mask for a batch of `rows` texts: each source for several neighbours."""
        sources = self.memory.shape[0]
        if rows == sources:
            return self.memory, self.memory_mask
        if not sources or rows % sources:
            raise ValueError(
                f"there are {sources} sources, which {rows} texts cannot share equally"
            )
        array = self.memory.array
        index = wrap(xp_of(array).arange(sources).repeat(rows // sources))  # (rows)
        mask = self.memory_mask
        return self.memory[index], None if mask is None else mask[index]

    def new_cache(self) -> Cache:
        """An empty cache, with room for context_length tokens."""
        blocks: Any = self.model.decoder.trf_blocks
        n = self.context_length
        return Cache([block.new_cache(n) for block in blocks], n)
