"""A GGUF file's metadata as the config.json of the same model, and back.

The names of a model's sizes: "<architecture>.block_count" in one, "num_hidden_layers" in the other.
The weights' names are in gguf_names.py.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np

from ...files.untrusted import describe
from .config_json import rope

__all__ = ["config_of", "head_dim_of", "metadata_of", "rope_factors", "rope_of_full_layers"]

ORIGINAL = "original_max_position_embeddings"
_COMMON = {  # after "<architecture>.": the field of config.json
    "context_length": "max_position_embeddings",
    "embedding_length": "hidden_size",
    "feed_forward_length": "intermediate_size",
    "block_count": "num_hidden_layers",
    "attention.head_count": "num_attention_heads",
    "attention.head_count_kv": "num_key_value_heads",
    "attention.key_length": "head_dim",
    "attention.layer_norm_rms_epsilon": "rms_norm_eps",
    "rope.freq_base": "rope_theta",
}
_MOE = {
    "expert_count": "num_experts",
    "expert_used_count": "num_experts_per_tok",
    "expert_feed_forward_length": "moe_intermediate_size",
}
_WINDOW = {"attention.sliding_window": "sliding_window"}
_DELTA_NET = {
    "full_attention_interval": "full_attention_interval",
    "ssm.conv_kernel": "linear_conv_kernel_dim",
    "ssm.state_size": "linear_key_head_dim",
    "ssm.group_count": "linear_num_key_heads",
    "ssm.time_step_rank": "linear_num_value_heads",
}
_EPSILON = {"attention.layer_norm_epsilon": "layer_norm_eps"}
FIELDS: dict[str, dict[str, str]] = {
    "llama": _COMMON,
    "qwen2": _COMMON,
    "qwen3": _COMMON,
    "qwen3moe": _COMMON | _MOE,
    "qwen35": _COMMON | _DELTA_NET,
    "gemma3": _COMMON | _WINDOW,
    "olmo2": _COMMON | _WINDOW,
    "cohere2": {k: v for k, v in _COMMON.items() if "rms" not in k}
    | _WINDOW | _EPSILON | {"logit_scale": "logit_scale"},
    "gpt2": {
        "context_length": "n_positions",
        "embedding_length": "n_embd",
        "block_count": "n_layer",
        "attention.head_count": "n_head",
        "attention.layer_norm_epsilon": "layer_norm_epsilon",
    },
}  # fmt: skip
# Fields that the metadata does not have, because the architecture's name says them.
_FIXED: dict[str, dict[str, Any]] = {
    "llama": {"model_type": "llama"},
    "qwen2": {"model_type": "qwen2"},
    "qwen3": {"model_type": "qwen3"},
    "qwen3moe": {"model_type": "qwen3_moe", "norm_topk_prob": True, "decoder_sparse_step": 1},
    "qwen35": {"model_type": "qwen3_5_text"},
    "gemma3": {"model_type": "gemma3_text", "hidden_activation": "gelu_pytorch_tanh"},
    "olmo2": {"model_type": "olmo3"},
    "cohere2": {"model_type": "cohere2"},
    "gpt2": {"model_type": "gpt2"},
}
_FULL_EVERY = {"gemma3": 6, "olmo2": 4, "cohere2": 4}  # the others of these layers have a window
_SECTIONS = [11, 11, 10, 0]  # pairs for time, height, width: Qwen3.5's, which text does not use
_GEMMA_27B = 62  # layers of the one Gemma 3 whose scores are scaled by emb_dim / n_heads
_LOCAL_BASE = 10000.0  # of rotary positions in Gemma 3's layers with a window


def config_of(metadata: Mapping[str, Any], where: str, shapes: Mapping[str, Any]) -> dict[str, Any]:
    """The object of config.json that a file's metadata describes.

    shapes: name in the file -> shape of each tensor; "rope_freqs.weight" -> its numbers
    Raises: ValueError if the architecture is unknown, or rotary factors are not Llama 3's.
    """
    name = metadata.get("general.architecture")
    if not isinstance(name, str) or name not in FIELDS:
        raise ValueError(
            f"{where}: general.architecture is {describe(name)}; those that can be read are "
            f"{', '.join(FIELDS)}"
        )
    config = dict(_FIXED[name])
    for key, theirs in FIELDS[name].items():
        value = metadata.get(f"{name}.{key}")
        if isinstance(value, np.ndarray | list):
            raise ValueError(f"{where}: {name}.{key} is a list, but here it should be one number")
        if value is not None:
            config[theirs] = _short(value)
    embedding = shapes.get("token_embd.weight", ())
    config["vocab_size"] = embedding[0] if embedding else 0
    config["tie_word_embeddings"] = "output.weight" not in shapes
    for key, theirs in (("bos", "bos_token_id"), ("eos", "eos_token_id")):
        token = metadata.get(f"tokenizer.ggml.{key}_token_id")
        if token is not None:
            config[theirs] = token
    if name == "gemma3":
        config.update(_gemma3(config, metadata))
    if name == "qwen35":
        config.update(_qwen35(config, metadata))
    if name in _FULL_EVERY:
        config["layer_types"] = _layer_types(name, config, metadata)
    if "rope_theta" in config:
        config["rope_scaling"] = _scaling(name, metadata, config, shapes, where)
    return config


def _short(value: Any) -> Any:
    """A float as the shortest number that is the same in float32: 1e-06, not 9.99999997e-07."""
    return float(str(np.float32(value))) if isinstance(value, float) else value


def _gemma3(config: Mapping[str, Any], metadata: Mapping[str, Any]) -> dict[str, Any]:
    layers, heads = config.get("num_hidden_layers"), config.get("num_attention_heads")
    scalar = config.get("head_dim", 256)
    if layers == _GEMMA_27B and isinstance(heads, int) and heads > 0:
        scalar = config["hidden_size"] // heads
    base = _short(metadata.get("gemma3.rope.freq_base_swa", _LOCAL_BASE))
    return {"query_pre_attn_scalar": scalar, "rope_local_base_freq": base}


def _qwen35(config: Mapping[str, Any], metadata: Mapping[str, Any]) -> dict[str, Any]:
    heads, head_dim = config.get("linear_num_value_heads"), config.get("head_dim")
    all_values = metadata.get("qwen35.ssm.inner_size")
    turned = metadata.get("qwen35.rope.dimension_count")
    fields: dict[str, Any] = {}
    if type(heads) is int and type(all_values) is int and heads > 0:
        fields["linear_value_head_dim"] = all_values // heads
    if type(turned) is int and type(head_dim) is int and head_dim > 0:
        fields["partial_rotary_factor"] = turned / head_dim
    return fields


def _layer_types(
    name: str, config: Mapping[str, Any], metadata: Mapping[str, Any]
) -> list[str] | None:
    """The kind of each layer: as the metadata lists them, or every n-th is full."""
    n = config.get("num_hidden_layers")
    if type(n) is not int or not 0 <= n < 1 << 16:  # the family's config says what is wrong
        return None
    kinds = "full_attention", "sliding_attention"
    pattern = metadata.get(f"{name}.attention.sliding_window_pattern", _FULL_EVERY[name])
    if isinstance(pattern, np.ndarray) and len(pattern) == n:
        return [kinds[int(bool(slides))] for slides in pattern]
    every = pattern if isinstance(pattern, int) and pattern > 0 else _FULL_EVERY[name]
    return [kinds[int((i + 1) % every != 0)] for i in range(n)]


# ------------------------------------------------------------------------- rotary positions
def rope_factors(base: float, head_dim: int, scaling: Mapping[str, Any]) -> np.ndarray:
    """What Llama 3 divides the frequency of each rotary pair by: float32, (head_dim/2).

    scaling: factor, low_freq_factor, high_freq_factor, original_max_position_embeddings
    """
    low, high = scaling["low_freq_factor"], scaling["high_freq_factor"]
    turns = scaling[ORIGINAL] / (2 * math.pi) * base ** -(np.arange(0, head_dim, 2) / head_dim)
    share = np.clip((turns - low) / (high - low), 0, 1)  # 1 for fast pairs, which stay as they are
    return (1 / (share + (1 - share) / scaling["factor"])).astype(np.float32)


def _scaling(
    name: str, metadata: Mapping[str, Any], config: Mapping[str, Any], shapes: Mapping[str, Any],
    where: str,
) -> dict[str, Any] | None:  # fmt: skip
    """The object rope_scaling of config.json, or None."""
    factors = shapes.get("rope_freqs.weight")
    if factors is not None:
        return _llama3(factors, config, where)
    prefix = f"{name}.rope.scaling."
    kind = metadata.get(f"{prefix}type", "none")
    if kind == "none":
        return None
    given = {
        "factor": metadata.get(f"{prefix}factor"),
        ORIGINAL: metadata.get(f"{prefix}original_context_length"),
        "attention_factor": metadata.get(f"{prefix}attn_factor"),
        "beta_fast": metadata.get(f"{prefix}yarn_beta_fast"),
        "beta_slow": metadata.get(f"{prefix}yarn_beta_slow"),
    }
    return {"rope_type": kind, **{k: _short(v) for k, v in given.items() if v is not None}}


def _llama3(factors: np.ndarray, config: Mapping[str, Any], where: str) -> dict[str, Any]:
    """Llama 3's smoothing from its factors, of which the largest is the factor of slow pairs."""
    scaling = {
        "rope_type": "llama3",
        "factor": _short(float(factors.max(initial=1.0))),
        "low_freq_factor": 1.0,
        "high_freq_factor": 4.0,
        ORIGINAL: 8192,
    }
    base = config.get("rope_theta", 10000.0)
    same = isinstance(base, float | int) and base > 0 and factors.ndim == 1
    if not same or not np.allclose(rope_factors(base, 2 * len(factors), scaling), factors, 1e-4):
        raise ValueError(f"{where}: rope_freqs.weight does not hold Llama 3's factors")
    return scaling


# --------------------------------------------------------------------------------- writing
def rope_of_full_layers(config: Mapping[str, Any]) -> tuple[float, dict[str, Any] | None]:
    """(base, scaling) of rotary positions, in the layers without a window if they differ."""
    given = dict(config.get("rope_parameters") or {})
    if config.get("model_type") in ("qwen3_5", "qwen3_5_text"):
        given.pop("partial_rotary_factor", None)  # rope.dimension_count holds it
        return rope("config.json", {**config, "rope_parameters": given})
    if "full_attention" not in given:
        return rope("config.json", config)
    return rope("config.json", {**config, "rope_parameters": given["full_attention"]})


def head_dim_of(config: Mapping[str, Any]) -> int:
    """The channels of a head; without the field, hidden_size over the heads."""
    stored = config.get("head_dim")
    return config["hidden_size"] // config["num_attention_heads"] if stored is None else stored


def metadata_of(config: Mapping[str, Any], name: str) -> dict[str, Any]:
    """The metadata of an architecture for an object of config.json, without the tokenizer's.

    Raises: ValueError if the architecture cannot hold what config.json says.
    """
    metadata: dict[str, Any] = {"general.architecture": name, "general.type": "model"}
    for key, theirs in FIELDS[name].items():
        value = config.get(theirs)
        if value is not None:
            whole = key not in ("rope.freq_base", "logit_scale") and not key.endswith("epsilon")
            metadata[f"{name}.{key}"] = value if whole else float(value)
    metadata[f"{name}.vocab_size"] = config["vocab_size"]
    if name == "gpt2":
        metadata["gpt2.feed_forward_length"] = 4 * config["n_embd"]
        return metadata
    head_dim = head_dim_of(config)
    metadata[f"{name}.attention.key_length"] = head_dim
    metadata[f"{name}.attention.value_length"] = head_dim
    if name == "qwen2" and head_dim * config["num_attention_heads"] != config["hidden_size"]:
        raise ValueError(
            f"llama.cpp's qwen2 has heads of emb_dim / n_heads channels, here {head_dim} for "
            f"{config['num_attention_heads']} heads and {config['hidden_size']} channels"
        )
    metadata[f"{name}.rope.dimension_count"] = head_dim
    if name == "qwen35":
        metadata.update(_qwen35_metadata(config, head_dim))
    window = config.get("sliding_window")
    if window is not None and name not in _FULL_EVERY:
        raise ValueError(f"llama.cpp's architecture {name} has no windows: sliding_window={window}")
    if window is not None and config.get("layer_types"):
        default = _layer_types(name, config, {})
        if list(config["layer_types"]) != default:
            raise ValueError(f"llama.cpp's {name} has a full layer every {_FULL_EVERY[name]} only")
    base, scaling = rope_of_full_layers(config)
    metadata[f"{name}.rope.freq_base"] = float(base)
    local = (config.get("rope_parameters") or {}).get("sliding_attention")
    if local is not None and name == "gemma3":
        metadata["gemma3.rope.freq_base_swa"] = float(local["rope_theta"])
    if scaling is not None:
        metadata.update(_scaling_metadata(name, scaling))
    return metadata


def _qwen35_metadata(config: Mapping[str, Any], head_dim: int) -> dict[str, Any]:
    """Raises: ValueError if the kinds of layers do not repeat."""
    kinds, n = list(config["layer_types"]), config["num_hidden_layers"]
    every = kinds.index("full_attention") + 1 if "full_attention" in kinds else n + 1
    if any((kind == "full_attention") != ((i + 1) % every == 0) for i, kind in enumerate(kinds)):
        raise ValueError(f"llama.cpp's qwen35 has a full layer every n layers, here {kinds}")
    turned = round(head_dim * config["partial_rotary_factor"])
    values = config["linear_num_value_heads"] * config["linear_value_head_dim"]
    return {
        "qwen35.full_attention_interval": every,
        "qwen35.ssm.inner_size": values,
        "qwen35.rope.dimension_count": turned,
        "qwen35.rope.dimension_sections": np.asarray(_SECTIONS, np.int32),
    }


def _scaling_metadata(name: str, scaling: Mapping[str, Any]) -> dict[str, Any]:
    """Raises: ValueError if llama.cpp has no such scaling. llama3's is a tensor, see gguf_names."""
    kind, prefix = scaling["rope_type"], f"{name}.rope.scaling."
    if kind == "llama3":
        return {}
    if kind not in ("linear", "yarn"):
        raise ValueError(f"rotary scaling {kind} cannot be written into a GGUF file")
    keys = {
        "factor": "factor",
        "attention_factor": "attn_factor",
        "beta_fast": "yarn_beta_fast",
        "beta_slow": "yarn_beta_slow",
    }
    written = {f"{prefix}{keys[k]}": float(v) for k, v in scaling.items() if k in keys and v}
    if ORIGINAL in scaling:
        written[f"{prefix}original_context_length"] = int(scaling[ORIGINAL])
    return {f"{prefix}type": kind, **written}
