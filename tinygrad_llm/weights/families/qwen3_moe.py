"""Published weights and config.json of Qwen3 with experts: one matrix for each expert's part.

Blocks that config.json names as dense have a feed forward, as Qwen3's.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from ...files.untrusted import describe
from . import config_json, llama, qwen3
from .table import Table, Weight

__all__ = ["ARCHITECTURES", "MODEL_TYPES", "read_config", "weights", "write_config"]

MODEL_TYPES = ("qwen3_moe",)  # in a config.json
ARCHITECTURES = ("Qwen3MoeForCausalLM", "Qwen3MoeModel")
PREFIX = llama.PREFIX
IGNORED: re.Pattern[str] = llama.IGNORED
BLOCK: Table = {
    **{name: row for name, row in qwen3.BLOCK.items() if not name.startswith("mlp.")},
    "mlp.gate.weight": ("ff.router.weight", "EC"),
}
DENSE: Table = {  # of a block with a feed forward instead of experts, of I channels
    name: (ours, letters.replace("F", "I")) for name, (ours, letters) in qwen3.BLOCK.items()
}
FIXED: dict[str, tuple[Any, ...]] = {
    "hidden_act": ("silu", "swish"),
    "attention_bias": (False,),
    "use_sliding_window": (False,),
}
COEFFICIENT = 0.001  # router_aux_loss_coef where the file is silent


def _experts(fields: Mapping[str, Any], i: int) -> dict[str, Weight]:
    """Published name -> Weight of the experts of block i."""
    C, F = fields["emb_dim"], fields["hidden_dim"]
    named = {}
    for e in range(fields["n_experts"]):
        theirs, ours = f"{PREFIX}layers.{i}.mlp.experts.{e}.", f"trf_blocks.{i}.ff.experts."
        named[theirs + "gate_proj.weight"] = Weight(ours + "gate_up", (F, C), (e, slice(0, F)))
        named[theirs + "up_proj.weight"] = Weight(ours + "gate_up", (F, C), (e, slice(F, 2 * F)))
        named[theirs + "down_proj.weight"] = Weight(ours + "down", (C, F), (e,))
    return named


def weights(fields: Mapping[str, Any]) -> dict[str, Weight]:
    """Published name -> Weight of a model with these fields; lm_head.weight too if it is tied."""
    dense = fields["dense_layers"]
    letters = {"E": fields["n_experts"], "I": fields["dense_hidden_dim"] or 0}
    named = llama.weights(fields, BLOCK, letters, dict.fromkeys(dense, DENSE))
    for i in range(fields["n_layers"]):
        if i not in dense:
            named |= _experts(fields, i)
    return named


def _dense(config: Mapping[str, Any], where: str, n_layers: int) -> dict[str, Any]:
    """The fields dense_layers and dense_hidden_dim: mlp_only_layers, and others than every step-th.

    Raises: ValueError if a field is broken.
    """
    named = config.get("mlp_only_layers") or []
    if not isinstance(named, list) or not all(type(i) is int for i in named):
        raise ValueError(
            f"{where}: mlp_only_layers should be a list of integers, got {describe(named)}"
        )
    step = config_json.number(
        where, "decoder_sparse_step", config.get("decoder_sparse_step", 1), int
    )
    if step < 1:
        raise ValueError(f"{where}: decoder_sparse_step should be at least 1, got {step}")
    dense = tuple(i for i in range(n_layers) if i in named or (i + 1) % step)
    if not dense:
        return {"dense_layers": (), "dense_hidden_dim": None}
    width = config_json.numbers(where, config, {
        "intermediate_size": ("dense_hidden_dim", int, ...)
    })  # fmt: skip
    return {"dense_layers": dense, **width}


def read_config(config: Mapping[str, Any], where: str) -> dict[str, Any]:
    """The fields of Qwen3MoeConfig in the object of a config.json; where: the file, for messages.

    Raises: ValueError if a field is missing or broken, or describes what this model cannot be.
    """
    plain = {"head_dim": None, **config, "intermediate_size": config.get("moe_intermediate_size")}
    fields = llama.read_common(plain, where, "this Qwen3Moe", FIXED)
    old, new = "num_experts", "num_local_experts"  # of transformers 4 and 5
    experts = config_json.numbers(where, config, {
        (new if new in config else old): ("n_experts", int, ...),
        "num_experts_per_tok": ("n_experts_per_token", int, 8),
        "router_aux_loss_coef": ("router_aux_loss_coef", float, COEFFICIENT),
    })  # fmt: skip
    if not config_json.flag(where, config, "output_router_logits", False):
        experts["router_aux_loss_coef"] = 0.0  # as in transformers
    norm = config_json.flag(where, config, "norm_topk_prob", False)
    dense = _dense(config, where, fields["n_layers"])
    return {**fields, **experts, **dense, "norm_topk_prob": norm}


def write_config(fields: Mapping[str, Any]) -> dict[str, Any]:
    """The object of config.json for a Qwen3MoeConfig."""
    written = llama.write_common(fields, MODEL_TYPES[0], ARCHITECTURES[0])
    share = fields["router_aux_loss_coef"]
    return {
        **written,
        "intermediate_size": fields["dense_hidden_dim"] or fields["hidden_dim"],
        "moe_intermediate_size": fields["hidden_dim"],
        "num_experts": fields["n_experts"],
        "num_local_experts": fields["n_experts"],
        "num_experts_per_tok": fields["n_experts_per_token"],
        "norm_topk_prob": fields["norm_topk_prob"],
        "router_aux_loss_coef": share or COEFFICIENT,
        "output_router_logits": share > 0.0,
        "decoder_sparse_step": 1,
        "mlp_only_layers": list(fields["dense_layers"]),
        "attention_bias": False,
    }
