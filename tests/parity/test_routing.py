"""Mixtures of experts against transformers' blocks: values and every gradient."""

from __future__ import annotations

import pytest

torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")

from transformers.models.deepseek_v3 import modeling_deepseek_v3 as deepseek_v3  # noqa: E402
from transformers.models.mixtral import modeling_mixtral as mixtral  # noqa: E402
from transformers.models.qwen2_moe import modeling_qwen2_moe as qwen2_moe  # noqa: E402
from transformers.models.qwen3_next import modeling_qwen3_next as qwen3_next  # noqa: E402

import tinygrad_llm as tg  # noqa: E402
from tinygrad_llm.layers.feed_forward import GatedFeedForward  # noqa: E402
from tinygrad_llm.layers.moe import MixtureOfExperts  # noqa: E402

from .test_layers import agree, fill  # noqa: E402

both_dtypes = pytest.mark.parametrize("dtype", ["float32", "float64"])
C, F, E, K = 12, 10, 8, 3
SHAPE = [(2, 7, C)]
NAMES = {
    "router.weight": ["gate.weight"], "experts.gate_up": ["experts.gate_up_proj"],
    "experts.down": ["experts.down_proj"],
}  # fmt: skip


def shared_names(theirs):
    return {
        "shared.gate_up.weight": [f"{theirs}.gate_proj.weight", f"{theirs}.up_proj.weight"],
        "shared.down.weight": [f"{theirs}.down_proj.weight"],
    }


def check(ours, theirs, names, dtype):
    agree(ours, theirs, names, lambda m, x: m(x), lambda m, x: m(x), SHAPE, dtype)


@both_dtypes
def test_mixtral(dtype):
    config = transformers.MixtralConfig(
        hidden_size=C, intermediate_size=F, num_local_experts=E, num_experts_per_tok=K
    )
    theirs = fill(mixtral.MixtralSparseMoeBlock(config), dtype)
    check(MixtureOfExperts(C, F, E, K, softmax_first=False), theirs, NAMES, dtype)


@both_dtypes
@pytest.mark.parametrize("divided", [False, True])
@pytest.mark.parametrize("family", ["Qwen2Moe", "Qwen3Next"])
def test_qwens_with_a_gated_shared_expert(family, divided, dtype):
    config = getattr(transformers, f"{family}Config")(
        hidden_size=C, moe_intermediate_size=F, num_experts=E, num_experts_per_tok=K,
        shared_expert_intermediate_size=9, norm_topk_prob=divided,
    )  # fmt: skip
    module = qwen2_moe if family == "Qwen2Moe" else qwen3_next
    theirs = fill(getattr(module, f"{family}SparseMoeBlock")(config), dtype)
    ours = MixtureOfExperts(
        C, F, E, K, norm_topk_prob=divided, shared=GatedFeedForward(C, 9), shared_gate=True
    )
    names = NAMES | shared_names("shared_expert")
    check(ours, theirs, names | {"shared_gate.weight": ["shared_expert_gate.weight"]}, dtype)


@both_dtypes
@pytest.mark.parametrize("divided", [False, True])
@pytest.mark.parametrize("groups", [(1, 1), (4, 2), (2, 1)])
def test_deepseek_v3(groups, divided, dtype):
    """Sigmoid scores, a correction for the choice, groups, a factor and two shared experts."""
    n, m = groups
    config = transformers.DeepseekV3Config(
        hidden_size=C, moe_intermediate_size=F, n_routed_experts=E, num_experts_per_tok=K,
        n_shared_experts=2, n_group=n, topk_group=m, norm_topk_prob=divided,
        routed_scaling_factor=2.5,
    )  # fmt: skip
    torch.manual_seed(1)
    theirs = fill(deepseek_v3.DeepseekV3MoE(config), dtype)
    correction = 0.4 * torch.randn(E)
    theirs.gate.e_score_correction_bias.data = correction.to(getattr(torch, dtype))
    ours = MixtureOfExperts(
        C, F, E, K, sigmoid=True, groups=groups, scale=2.5, norm_topk_prob=divided,
        shared=GatedFeedForward(C, 2 * F),
    )  # fmt: skip
    ours.correction = tg.from_numpy(correction.numpy())
    check(ours, theirs, NAMES | shared_names("shared_experts"), dtype)
