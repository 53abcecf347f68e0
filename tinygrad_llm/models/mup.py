"""µP: one learning rate for models of every width, found on a narrow one.

    GPTConfig(emb_dim=1024, n_heads=32, mup_base=128)     # the rate was found with 128 channels

With m = emb_dim / mup_base, the width multiplier, and Adam's or Lion's steps:

    matrices of hidden layers   initial σ / √m     learning rate / m     weight decay · m
    embeddings, biases, norms   initial σ          learning rate         weight decay
    the output layer            initial σ          learning rate         its input / m

so that one step changes the activations of each layer as much at every width. (Weight decay acts
as lr·weight_decay, which stays the same.) The model of m = 1 is the usual one, to the last bit.
The size of a head, emb_dim / n_heads, stays that of the base: a wider model has more heads.
Source: Yang et al. (2022), "Tensor Programs V: Tuning Large Neural Networks via Zero-Shot
Hyperparameter Transfer", table 8.
"""

from __future__ import annotations

from ..nn import Embedding, Linear, Module
from ..tensor import Tensor

__all__ = ["hidden_matrices"]


def hidden_matrices(model: Module) -> dict[int, Tensor]:
    """The weights of Linear layers by id, without those tied to an embedding and the last one."""
    layers = [m for m in model.modules() if isinstance(m, Linear)]
    tables = {id(m.weight) for m in model.modules() if isinstance(m, Embedding)}
    last = {id(layers[-1].weight)} if layers else set()
    weights = [m.weight for m in layers if m.weight.ndim == 2 and m.weight.requires_grad]
    return {id(w): w for w in weights if id(w) not in tables | last}
