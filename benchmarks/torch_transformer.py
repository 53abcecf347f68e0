"""The other side of a translation run: nn.Transformer in PyTorch, the way its users write it.

twin = Twin(model)                  # the weights and the device of a models.Transformer
twin.loss(ids, mask, labels, 0.1)
twin.copy_to(model)                 # the trained weights back, to translate with
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn

from tinygrad_llm import from_numpy, no_grad


class Twin(nn.Module):
    """Embeddings times √C plus sinusoids, nn.Transformer, and an output layer."""

    def __init__(self, model: Any) -> None:
        super().__init__()
        c = self.config = model.config
        C = c.emb_dim
        self.target = nn.Embedding(c.vocab_size, C)
        own = c.source_vocab_size
        self.source = nn.Embedding(own, C) if own else self.target
        self.dropout = nn.Dropout(c.drop_rate)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # nested tensors
            self.transformer = nn.Transformer(
                C, c.n_heads, c.n_layers, c.n_decoder_layers, c.hidden_dim, c.drop_rate,
                c.activation, layer_norm_eps=c.norm_eps, batch_first=True, norm_first=c.norm_first,
            )  # fmt: skip
        for module in self.transformer.modules():
            if isinstance(module, nn.MultiheadAttention):
                module.register_forward_hook(_in_order)
        self.head = nn.Linear(C, c.vocab_size, bias=False)
        if c.tie_weights:
            self.head.weight = self.target.weight
        place = torch.arange(c.context_length)[:, None]
        angle = place * torch.exp(
            torch.arange(0, C, 2).double() * (-math.log(10000.0) / C)
        )  # (T, C/2)
        places = torch.stack([angle.sin(), angle.cos()], -1).flatten(1)  # (T, C)
        self.register_buffer("places", places, persistent=False)
        weight = model.tok_emb.weight
        dtype = torch.float64 if str(weight.dtype).endswith("64") else torch.float32
        self.to(str(weight.device), dtype)
        for mine, ours in self.pairs(model):
            with torch.no_grad():
                mine.copy_(torch.from_numpy(ours.detach().cpu().numpy().copy()))

    def pairs(self, model: Any) -> Iterator[tuple[torch.Tensor, Any]]:
        """(weight here, the same weight of our model), each once. Ours may be parts of one here."""
        yield self.target.weight, model.tok_emb.weight
        if self.source is not self.target:
            yield self.source.weight, model.source_emb.weight
        if self.head.weight is not self.target.weight:
            yield self.head.weight, model.out_head.weight
        for theirs, ours in ((self.transformer.encoder, model.encoder),
                             (self.transformer.decoder, model.decoder)):  # fmt: skip
            for layer, block in zip(theirs.layers, ours.trf_blocks, strict=True):
                yield from _layer_pairs(layer, block)
            yield from _same(theirs.norm, ours.final_norm)

    def copy_to(self, model: Any) -> None:
        """Copies the weights into our model."""
        for mine, ours in self.pairs(model):
            with no_grad():
                ours.copy_(from_numpy(mine.detach().cpu().numpy()))

    def embedded(self, table: nn.Embedding, ids: torch.Tensor) -> torch.Tensor:
        x = table(ids) * math.sqrt(self.config.emb_dim)  # (B, T, C)
        return self.dropout(x + self.places[: ids.shape[1]])

    def forward(self, ids: torch.Tensor, mask: torch.Tensor, read: torch.Tensor) -> torch.Tensor:
        """Logits (B, T, V) after each token of read (B, T), given sources (B, S)."""
        hidden = mask == 0
        memory = self.transformer.encoder(
            self.embedded(self.source, ids), src_key_padding_mask=hidden
        )
        T = read.shape[1]
        y = self.transformer.decoder(
            self.embedded(self.target, read), memory,
            tgt_mask=torch.ones(T, T, dtype=torch.bool, device=ids.device).triu(1),
            memory_key_padding_mask=hidden,
        )  # fmt: skip
        return self.head(y)

    def loss(
        self, ids: torch.Tensor, mask: torch.Tensor, labels: torch.Tensor, smoothing: float
    ) -> torch.Tensor:
        """The mean cross-entropy of labels (B, T), padded with -100."""
        start = labels.new_full((len(labels), 1), self.config.start_token_id)
        read = torch.cat([start, labels[:, :-1]], 1)
        read = read.masked_fill(read == -100, self.config.pad_token_id)
        logits = self(ids, mask, read)
        return F.cross_entropy(logits.flatten(0, 1), labels.flatten(), label_smoothing=smoothing)


def _in_order(module: nn.Module, inputs: Any, output: Any) -> Any:
    """What attention returns, laid out as its shape (B, T, C) says.

    PyTorch computes it as (T, B, C), and dropout draws its mask in the order of memory: without
    this the two sides would drop other numbers with the same seed.
    """
    return output[0].contiguous(), output[1]


def _same(theirs: Any, ours: Any) -> Iterator[tuple[torch.Tensor, Any]]:
    yield theirs.weight, ours.weight
    yield theirs.bias, ours.bias


def _layer_pairs(layer: Any, block: Any) -> Iterator[tuple[torch.Tensor, Any]]:
    C = layer.self_attn.embed_dim
    yield layer.self_attn.in_proj_weight, block.att.qkv.weight
    yield layer.self_attn.in_proj_bias, block.att.qkv.bias
    yield from _same(layer.self_attn.out_proj, block.att.out_proj)
    yield from _same(layer.linear1, block.ff.layers[0])
    yield from _same(layer.linear2, block.ff.layers[2])
    yield from _same(layer.norm1, block.norm1)
    if block.cross is None:
        yield from _same(layer.norm2, block.norm2)
        return
    cross = layer.multihead_attn
    for part, ours in ((slice(0, C), block.cross.q), (slice(C, 3 * C), block.cross.kv)):
        yield cross.in_proj_weight[part], ours.weight
        yield cross.in_proj_bias[part], ours.bias
    yield from _same(cross.out_proj, block.cross.out_proj)
    yield from _same(layer.norm2, block.norm_cross)
    yield from _same(layer.norm3, block.norm2)


class TwinSteps:
    """Training steps of the twin with the optimizer, schedule and clipping of our trainer."""

    def __init__(self, twin: Twin, trainer: Any) -> None:
        self.twin, self.trainer = twin, trainer
        first = trainer.optimizer.param_groups[0]
        groups = [
            {"params": [p for p in twin.parameters() if p.ndim >= 2]},
            {"params": [p for p in twin.parameters() if p.ndim < 2], "weight_decay": 0.0},
        ]
        decay = first["weight_decay"]
        self.optimizer = torch.optim.AdamW(groups, betas=first["betas"], weight_decay=decay)

    def step(self, batch: Any, lr: float, smoothing: float) -> float:
        """One step on a batch of our trainer at this rate; its loss."""
        device = self.twin.head.weight.device
        ids, mask, labels = (torch.from_numpy(np.asarray(x.array)).to(device) for x in batch)
        for group in self.optimizer.param_groups:
            group["lr"] = lr
        self.twin.train()
        self.optimizer.zero_grad()
        loss = self.twin.loss(ids, mask, labels, smoothing)
        loss.backward()
        if self.trainer.setup.clip:
            nn.utils.clip_grad_norm_(self.twin.parameters(), self.trainer.setup.clip)
        self.optimizer.step()
        return loss.item()
