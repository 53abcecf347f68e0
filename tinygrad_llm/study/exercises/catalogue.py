"""All exercises, in an order in which no exercise needs what a later one teaches."""

from __future__ import annotations

import difflib
import inspect
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from ...autograd.engine import OPS
from ...files.program import command_line
from . import from_op
from .hints import HINTS

__all__ = ["CHAPTERS", "Exercise", "exercise", "exercises"]

TASKS = Path(__file__).parent / "tasks"

CHAPTERS: tuple[tuple[str, str], ...] = (
    ("The chain rule", "neg clone exp log sin cos sqrt reciprocal rsqrt tanh sigmoid expm1 log1p "
     "log2 log10 erf"),
    ("Two inputs, two paths", "add sub mul div pow mse_loss"),
    ("The engine", "topological_order accumulation no_grad unbroadcast"),
    ("Kinks and choices", "abs step where maximum minimum masked_fill clamp relu leaky_relu "
     "remainder cast move"),
    ("Many into one", "sum mean expand cumsum cumprod extreme prod var std norm"),
    ("The same numbers elsewhere", "reshape permute cat split flip roll tril triu pad"),
    ("Products", "matmul linear einsum solve logabsdet conv1d grouped_mm "
     "linear_layer"),
    ("Picking", "index diagonal index_put gather scatter_add scatter_reduce embedding read_view "
     "write_view embedding_layer"),
    ("Activations", "logsigmoid softplus silu elu gelu gated_activation linear_gelu_linear "
     "feed_forward gated_feed_forward"),
    ("Softmax and losses", "softmax logsumexp log_softmax nll_loss cross_entropy "
     "cross_entropy_loss linear_cross_entropy binary_cross_entropy "
     "binary_cross_entropy_with_logits kl_div contrastive_loss binary_passage_loss "
     "crf_log_partition crf_paths policy_loss value_loss distillation_loss"),
    ("Norms and dropout", "layer_norm_layer rms_norm offset_rms_norm layer_norm dropout "
     "dropout_layer"),
    ("Attention", "causal_attention sliding_window soft_cap scaled_dot_product_attention "
     "multi_head_attention grouped_query_attention cross_attention sinusoidal_positions "
     "position_bias rotary_positions rotary_scaling rope qk_norm kv_cache window_cache "
     "cache_rows latent_attention attention_sinks sparse_keys differential_attention "
     "linear_attention delta_memory gated_delta_rule selective_memory selective_scan"),
    ("Models and training", "mixture_of_experts expert_capacity transformer_block norm_places "
     "tied_weights chunked_loss lora int8_layers gradient_clipping adamw_step"),
)  # fmt: skip


@dataclass(frozen=True)
class Exercise:
    """One exercise: the file that `start` writes, its solution, and hints in stages."""

    name: str
    chapter: str

    @property
    def is_op(self) -> bool:
        """Whether the task is an op's backward; otherwise something to build."""
        return self.name in OPS

    @property
    def title(self) -> str:
        """One line: what the op computes, or what is built."""
        text = inspect.getdoc(OPS[self.name]) if self.is_op else self._source()[3:]
        first = (text or "").strip().split("\n")[0]
        return first.split("  ")[0].split("   ")[0].rstrip(".,: ")

    def template(self, derive: bool = False) -> str:
        """The file with the answer left out; with derive, an op's backward formula as well."""
        if self.is_op:
            return from_op.template_of(self.name, derive)
        return _without_answers(self._source())

    def solution(self) -> str:
        """The file with the answer."""
        return from_op.solution_of(self.name) if self.is_op else self._source()

    def hints(self, derive: bool = False) -> list[str]:
        """Hints in stages: from the meaning of the saved arrays almost to the line itself.

        derive: for a file that was written with derive: the last hint is the formula
        """
        return from_op.hints_of(self.name, derive) if self.is_op else list(HINTS[self.name])

    def _source(self) -> str:
        return (TASKS / f"{self.name}.py").read_text("utf-8")


def _without_answers(source: str) -> str:
    """A task's file without the lines between its marks."""
    kept, within = [], False
    for line in source.splitlines():
        if line.strip().startswith("# >>>"):
            within = True
            indent = line[: line.index("#")]
            kept.append(f"{indent}# your lines: {line.strip()[5:].strip()}")
        elif line.strip() == "# <<<":
            within = False
        elif not within:
            kept.append(line)
    return "\n".join(kept) + "\n"


@cache
def exercises() -> tuple[Exercise, ...]:
    """Every exercise, in order."""
    return tuple(Exercise(n, chapter) for chapter, names in CHAPTERS for n in names.split())


def exercise(name: str) -> Exercise:
    """An exercise by name.

    Raises: ValueError, with the closest names, if there is none.
    """
    by_name = {e.name: e for e in exercises()}
    if name not in by_name:
        close = difflib.get_close_matches(name, by_name, n=3)
        near = f" (did you mean {' or '.join(close)}?)" if close else ""
        raise ValueError(
            f"there is no exercise {name!r}{near}: see {command_line('exercise', 'list')}"
        )
    return by_name[name]
