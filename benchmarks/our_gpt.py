"""Our GPT at the benchmarks' configurations, with its optimizer and a batch of random tokens."""

from __future__ import annotations

from typing import Any

from .configs import Config, gpt_config


def model_of(config: Config) -> Any:
    """The model alone, seed 0."""
    import tinygrad_llm as torch
    from tinygrad_llm.models.gpt import GPT

    torch.manual_seed(0)
    return GPT(gpt_config(config))


def training(config: Config, device: str = "cpu") -> tuple[Any, Any, Any, Any, Any]:
    """(tinygrad_llm, model, AdamW, idx, targets): what the train-step benchmark trains on."""
    import numpy as np

    import tinygrad_llm as torch
    from tinygrad_llm.optim import AdamW

    model = model_of(config).to(device)
    shape = config.batch_size, config.context_length + 1
    tokens = np.random.default_rng(0).integers(0, config.vocab_size, shape)
    idx, targets = (torch.from_numpy(a.copy()).to(device) for a in (tokens[:, :-1], tokens[:, 1:]))
    return torch, model, AdamW(model.parameters(), lr=3e-4), idx, targets
