"""Which exercises build each layer of models."""

from __future__ import annotations

__all__ = ["EXERCISES_OF"]

EXERCISES_OF: dict[str, tuple[str, ...]] = {
    "Alibi": ("position_bias",),
    "Attention": (
        "multi_head_attention",
        "grouped_query_attention",
        "sliding_window",
        "qk_norm",
        "soft_cap",
        "attention_sinks",
        "differential_attention",
        "cross_attention",
    ),
    "AttentionCache": ("kv_cache", "window_cache"),
    "Block": ("transformer_block", "norm_places"),
    "CRF": ("crf_paths",),
    "Cache": ("cache_rows",),
    "ContrastiveLoss": ("contrastive_loss",),
    "CrossCache": ("cross_attention",),
    "DecoderCache": ("cache_rows",),
    "Experts": ("mixture_of_experts",),
    "FeedForward": ("feed_forward",),
    "GatedDeltaNet": ("delta_memory",),
    "GatedFeedForward": ("gated_feed_forward",),
    "Indexer": ("sparse_keys",),
    "LatentAttention": ("latent_attention",),
    "LatentCache": ("latent_attention",),
    "LinearAttention": ("linear_attention",),
    "LinearWithLoRA": ("lora",),
    "LoRALayer": ("lora",),
    "Mamba": ("selective_memory",),
    "MixtureOfExperts": ("mixture_of_experts", "expert_capacity"),
    "OffsetRMSNorm": ("offset_rms_norm",),
    "QuantizedEmbedding": ("int8_layers",),
    "QuantizedLinear": ("int8_layers",),
    "RecurrentCache": ("delta_memory", "linear_attention", "selective_memory"),
    "RelativeBias": ("position_bias",),
    "Rotary": ("rotary_positions", "rotary_scaling"),
    "SinusoidalPositions": ("sinusoidal_positions",),
    "SoftCappedHead": ("soft_cap",),
    "StreamingCache": ("attention_sinks",),
    "head_loss": ("tied_weights", "chunked_loss"),
}
