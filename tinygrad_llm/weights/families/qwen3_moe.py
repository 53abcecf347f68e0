"""Published weights and config.json of Qwen3 with experts: one matrix for each expert's part."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

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
FIXED: dict[str, tuple[Any, ...]] = {
    "hidden_act": ("silu", "swish"),
    "attention_bias": (False,),
    "decoder_sparse_step": (1,),
    "mlp_only_layers": ([], None),
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
    named = llama.weights(fields, BLOCK, {"E": fields["n_experts"]})
    for i in range(fields["n_layers"]):
        named |= _experts(fields, i)
    return named


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
    return {**fields, **experts, "norm_topk_prob": norm}


def write_config(fields: Mapping[str, Any]) -> dict[str, Any]:
    """The object of config.json for a Qwen3MoeConfig."""
    written = llama.write_common(fields, MODEL_TYPES[0], ARCHITECTURES[0])
    share = fields["router_aux_loss_coef"]
    return {
        **written,
        "moe_intermediate_size": fields["hidden_dim"],
        "num_experts": fields["n_experts"],
        "num_local_experts": fields["n_experts"],
        "num_experts_per_tok": fields["n_experts_per_token"],
        "norm_topk_prob": fields["norm_topk_prob"],
        "router_aux_loss_coef": share or COEFFICIENT,
        "output_router_logits": share > 0.0,
        "decoder_sparse_step": 1,
        "mlp_only_layers": [],
        "attention_bias": False,
    }
