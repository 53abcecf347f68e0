"""The models that the benchmarks train: their sizes, and what one step of them costs."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from tinygrad_llm.models.gpt import GPTConfig


class Config(NamedTuple):
    """A GPT and the batch that it is trained on; weights tied, no dropout."""

    vocab_size: int
    context_length: int
    emb_dim: int
    n_heads: int
    n_layers: int
    batch_size: int

    @property
    def n_tokens(self) -> int:
        """Tokens of one step."""
        return self.batch_size * self.context_length


CONFIGS = {
    "char": Config(65, 256, 384, 6, 6, 8),
    "mini": Config(50257, 256, 256, 4, 8, 8),
    "gpt2": Config(50257, 256, 768, 12, 12, 4),
}
GPU_CONFIGS = {
    "gpt2": Config(50304, 1024, 768, 12, 12, 8),
    "char": Config(65, 256, 384, 6, 6, 64),
}


def gpt_config(config: Config) -> GPTConfig:
    """The same model as the package describes it."""
    from tinygrad_llm.models.gpt import GPTConfig

    return GPTConfig(*config[:5], drop_rate=0.0, qkv_bias=True, tie_weights=True)


def flops_per_step(config: Config) -> float:
    """Floating-point operations of the matrix products of one step, without the masked half."""
    from tinygrad_llm.models.costs import gpt_flops

    return gpt_flops(gpt_config(config), config.batch_size)["total"]
