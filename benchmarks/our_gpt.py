"""Our GPT at the benchmarks' configurations, with its optimizer and a batch of random tokens."""

from __future__ import annotations

from typing import Any

from .train_step import CONFIGS, CONTEXT


def model_of(config: str, context: int = CONTEXT) -> Any:
    """The model alone: weights tied, no dropout, seed 0."""
    import tinygrad_llm as torch
    from tinygrad_llm.models.gpt import GPT, GPTConfig

    vocab, c, heads, layers, _ = CONFIGS[config]
    torch.manual_seed(0)
    return GPT(
        GPTConfig(
            vocab_size=vocab, context_length=context, emb_dim=c, n_heads=heads, n_layers=layers,
            drop_rate=0.0, qkv_bias=True, tie_weights=True,
        )
    )  # fmt: skip


def training(config: str) -> tuple[Any, Any, Any, Any]:
    """(model, AdamW, idx, targets): what the train-step benchmark trains on."""
    import numpy as np

    import tinygrad_llm as torch
    from tinygrad_llm.optim import AdamW

    model = model_of(config)
    vocab, batch = CONFIGS[config][0], CONFIGS[config][-1]
    tokens = np.random.default_rng(0).integers(0, vocab, (batch, CONTEXT + 1))
    idx, targets = torch.from_numpy(tokens[:, :-1].copy()), torch.from_numpy(tokens[:, 1:].copy())
    return model, AdamW(model.parameters(), lr=3e-4), idx, targets
