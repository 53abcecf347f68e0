"""The checks of exercises that build attention's other forms: they equal those of layers/."""

from __future__ import annotations

from typing import Any

from .evidence import seen
from .layer_checks import _same_layer, _torch
from .model_layer_checks import _noisy
from .task_checks import Wrong, check, same


@check("latent_attention", "the same as the model's")
def _(m):
    torch = _torch()
    from ...layers.latent_attention import LatentAttention

    for h, rank in ((2, 5), (3, 4), (1, 2)):
        theirs = _noisy(LatentAttention(6, h, kv_rank=rank))
        _same_layer(m.LatentAttention(6, h, rank), theirs, torch.randn(2, 5, 6),
                    "kv_up: for each head D rows of its key, then D of its value")  # fmt: skip


@check("latent_attention", "one token after the other, by the latents alone")
def _(m):
    torch = _torch()
    mine: Any = _noisy(m.LatentAttention(6, 2, 4))
    x, latents = torch.randn(2, 5, 6), torch.zeros(2, 0, 4)
    with torch.no_grad():
        expected = mine(x)
        for t in range(5):
            y, latents = mine.step(x[:, t : t + 1], latents)
            if (shape := seen(list(latents.shape))) != [2, t + 1, 4]:
                raise Wrong(f"after {t + 1} tokens latents have the shape {shape}, should be "
                            f"{[2, t + 1, 4]}: R numbers per token, nothing else")  # fmt: skip
            same(y, expected[:, t : t + 1], f"token {t}", "the same as forward, without its keys")
