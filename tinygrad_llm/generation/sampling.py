"""The choice of the next token: greedy, or drawn with a temperature from the tokens that filters
leave. A filter takes logits (..., V) and returns them with some set to −∞, or changed."""

from __future__ import annotations

import math
from collections.abc import Sequence

from ..functions.creation.filled import zeros_like
from ..functions.order import sort, topk
from ..functions.sampling import multinomial
from ..functions.selection import where
from ..functions.shape.join import cat
from ..functions.softmax import softmax
from ..random import Generator
from ..tensor import Tensor
from .logits import check_logits
from .options import Sampling

__all__ = ["min_p_filter", "next_token", "repetition_filter", "top_k_filter", "top_p_filter"]

LIMITS = {  # the smallest normal number and the largest number: of float32, of float64
    4: (2.0**-126, (2.0 - 2.0**-23) * 2.0**127),
    8: (2.0**-1022, (2.0 - 2.0**-52) * 2.0**1023),
}


def top_k_filter(logits: Tensor, k: int) -> Tensor:
    """Logits (..., V), all except the k largest of each row set to −∞; ties with the k-th stay."""
    k = min(k, logits.shape[-1])
    smallest = topk(logits, k, dim=-1)[0][..., -1:]  # (..., 1)
    return logits.masked_fill(logits < smallest, -math.inf)


def top_p_filter(logits: Tensor, p: float) -> Tensor:
    """Logits (..., V), all except the nucleus of each row set to −∞.

    The nucleus: the fewest most likely tokens (at least one) whose probabilities add up to p.
    Source: Holtzman et al., 2020, "The Curious Case of Neural Text Degeneration".
    """
    ordered, order = sort(logits, dim=-1, descending=True)
    probabilities = softmax(ordered, dim=-1)
    before = probabilities.cumsum(-1) - probabilities  # the sum over the more likely tokens
    outside = before >= p
    outside[..., 0] = False  # also where p is 0 in the dtype of the logits
    return logits.masked_fill(zeros_like(outside).scatter(-1, order, outside), -math.inf)


def min_p_filter(logits: Tensor, p: float) -> Tensor:
    """Logits (..., V), −∞ where the probability is less than p times the largest of the row.

    Source: Nguyen et al., 2024, "Turning Up the Heat: Min-p Sampling for Creative and Coherent LLM
    Outputs".
    """
    probabilities = softmax(logits, dim=-1)
    least = p * probabilities.amax(-1, keepdim=True)  # (..., 1)
    return logits.masked_fill(probabilities < least, -math.inf)


def repetition_filter(logits: Tensor, ids: Tensor, penalty: float) -> Tensor:
    """Logits (B, V), less for the tokens in ids (B, T): l / penalty if l >= 0, else l · penalty.

    A token counts once, however often it is in ids.
    Source: Keskar et al., 2019, "CTRL: A Conditional Transformer Language Model for Controllable
    Generation", section 4.1; the case l < 0 is that of transformers.
    """
    old = logits.gather(1, ids)  # (B, T)
    return logits.scatter(1, ids, where(old < 0, old * penalty, old / penalty))  # (B, V)


def next_token(
    logits: Tensor, temperature: float = 0.0, top_k: int | None = None, top_p: float | None = None,
    generator: Generator | None = None, *, min_p: float | None = None,
) -> Tensor:  # fmt: skip
    """One token id for each row of logits: (B, V) -> (B, 1).

    temperature 0 takes the largest logit. Otherwise the ids are drawn from softmax(logits /
    temperature), only from the top_k largest, then only from the top_p nucleus, then only from
    those that min_p leaves, where given. Half precisions are drawn in float32.
    """
    temperature = float(temperature)
    if temperature == 0.0:
        return logits.argmax(-1, keepdim=True)
    probabilities = probabilities_of(
        logits, logits.amax(-1).tolist(), temperature, top_k, top_p, min_p
    )
    return multinomial(probabilities, 1, generator=generator)  # (B, 1)


def chosen(
    logits: Tensor, idx: Tensor, sampling: Sampling, generators: Sequence[Generator | None]
) -> Tensor:
    """The next token of each row, as `sampling` asks: logits (B, V), idx (B, T) -> (B, 1).

    generators: one for the batch, or one per row
    Raises: RuntimeError if no token can be chosen (see check_logits).
    """
    if not sampling.draws:
        return likeliest(logits, idx, sampling)
    p = distribution(logits, idx, sampling)  # (B, V)
    if len(generators) == 1:
        return multinomial(p, 1, generator=generators[0])  # (B, 1)
    rows = zip(p.split(1), generators, strict=True)  # (1, V) each
    return cat([multinomial(row, 1, generator=generator) for row, generator in rows])  # (B, 1)


def likeliest(logits: Tensor, idx: Tensor, sampling: Sampling) -> Tensor:
    """The greedy choice after the penalty: logits (B, V), idx (B, T) -> (B, 1).

    Raises: RuntimeError if a logit is NaN.
    """
    logits = _penalised(logits, idx, sampling)
    check_logits(logits)
    return logits.argmax(-1, keepdim=True)  # (B, 1)


def distribution(logits: Tensor, idx: Tensor, sampling: Sampling) -> Tensor:
    """The probabilities after penalty, temperature and filters: (B, V), idx (B, T) -> (B, V).

    Raises: RuntimeError if nothing can be drawn from a row (see check_logits).
    """
    s, logits = sampling, _penalised(logits, idx, sampling)
    largest = check_logits(logits, drawn=True)
    return probabilities_of(logits, largest, s.temperature, s.top_k, s.top_p, s.min_p)  # (B, V)


def _penalised(logits: Tensor, idx: Tensor, sampling: Sampling) -> Tensor:
    if sampling.repetition_penalty == 1.0:
        return logits
    return repetition_filter(logits, idx, sampling.repetition_penalty)


def probabilities_of(
    logits: Tensor, largest: Sequence[float], temperature: float, top_k: int | None,
    top_p: float | None, min_p: float | None,
) -> Tensor:  # fmt: skip
    """The probabilities with which next_token draws: (B, V) -> (B, V).

    largest: the largest logit of each row, (B)
    """
    logits = _over_temperature(in_float32(logits), largest, temperature)
    if top_k is not None:
        logits = top_k_filter(logits, top_k)
    if top_p is not None and top_p < 1.0:
        logits = top_p_filter(logits, top_p)
    if min_p is not None and min_p > 0.0:
        logits = min_p_filter(logits, min_p)
    return softmax(logits, dim=-1)


def in_float32(logits: Tensor) -> Tensor:
    """Half precisions as float32, others as they are."""
    return logits.float() if logits.array.dtype.itemsize < 4 else logits


def _over_temperature(logits: Tensor, largest: Sequence[float], temperature: float) -> Tensor:
    """logits / temperature; where that overflows, less each row's largest logit first.

    softmax is the same: what is taken from a whole row cancels.
    """
    smallest_normal, most = LIMITS[logits.array.dtype.itemsize]
    temperature = min(max(temperature, smallest_normal), most)  # neither 0 nor inf in the dtype
    if temperature < 1.0 and any(abs(value) > most * temperature for value in largest):
        logits = logits - logits.amax(-1, keepdim=True)  # (B, V) - (B, 1)
    return logits / temperature
