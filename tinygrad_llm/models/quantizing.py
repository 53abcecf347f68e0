"""Loading with weights that stay quantised: one layer at a time is a float array, or none.

`from_pretrained(..., quantize="q4_1")` comes here before the other weights are read.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from ..layers.quantized import chosen_kind, is_table, replacement
from ..nn.linear import Linear
from ..nn.sparse import Embedding
from ..weights.families.gguf_names import GGUFSource
from ..weights.families.table import Weight
from ..weights.quantized import (
    FORMATS,
    GGUFMatrix,
    QuantizedMatrix,
    from_gguf,
    quantize,
    stack,
)
from ..weights.sources import MappedSource, Source
from .base import PretrainedModel

__all__ = ["AS_STORED", "check_quantize", "fill_quantized"]

AS_STORED = "gguf"  # the formats that a GGUF file has


def check_quantize(kind: str | None, source: Any) -> None:
    """Raises: ValueError if `kind` is not None, a format, or "gguf" for a GGUF file."""
    if kind == AS_STORED:
        if not isinstance(source, GGUFSource):
            raise ValueError('quantize="gguf" keeps the formats of a GGUF file: this is another')
    elif kind is not None and kind not in FORMATS:
        raise ValueError(f"quantize must be {', '.join([*FORMATS, AS_STORED])}, got {kind!r}")


def fill_quantized(
    model: PretrainedModel, expected: Mapping[str, Weight], source: Source, kind: str
) -> None:
    """Put quantised layers with a source's weights in place of Linear and Embedding modules.

    model: its own weights have not been read; expected: the family's table; kind: a format, or
    "gguf". A tensor that the file holds as plain numbers stays a float layer with "gguf".
    Raises: as Source.read; ValueError for numbers that are not finite.
    """
    groups: dict[str, list[tuple[str, Weight]]] = {}
    for theirs, weight in expected.items():
        groups.setdefault(weight.name, []).append((theirs, weight))
    embedding = groups.get("tok_emb.weight", [])
    made: dict[int, QuantizedMatrix | None] = {}
    layers = [(n, m) for n, m in model.named_modules() if type(m) in (Linear, Embedding)]
    for name, module in layers:
        parts = groups.get(f"{name}.weight", embedding if name == "out_head" else [])
        key = id(module.weight.array)
        if key not in made and parts:
            own = kind if kind == AS_STORED else chosen_kind(
                module.weight.shape[1], kind, is_table(name, module)
            )  # fmt: skip
            made[key] = _matrix(parts, source, own, module.weight.shape)
            if isinstance(source, MappedSource):
                for theirs, _ in parts:
                    source.drop(theirs)
        matrix = made.get(key)
        if matrix is not None:
            model.set_submodule(name, replacement(module, matrix))
    model.requires_grad_(False)


def _matrix(
    parts: list[tuple[str, Weight]], source: Source, kind: str, shape: tuple[int, ...]
) -> QuantizedMatrix | None:
    """The matrix of one layer from its parts, rows below each other; None if it stays in floats."""
    if kind == AS_STORED:
        return _as_stored([theirs for theirs, _ in parts], source)
    if len(parts) == 1 and not parts[0][1].turned:
        return quantize(_rows_of(parts[0][0], source), kind)
    whole = np.empty(shape, np.float32)
    for theirs, weight in parts:
        array = source.read(theirs)
        whole[weight.part] = array.T if weight.turned else array
    return quantize(whole, kind)


def _rows_of(name: str, source: Any) -> Any:
    """A weight (O, I) of which some rows at a time can become float32."""
    stored = source.stored(name) if source.is_gguf else None
    if stored is None:
        return source.read(name)
    raw, kind = stored
    return GGUFMatrix(raw, kind, f"{source.where}: {name[:200]}")


def _as_stored(names: list[str], source: Any) -> QuantizedMatrix | None:
    stored = [source.stored(name) for name in names]
    if None in stored:
        return None
    kinds = [kind for _, kind in stored]
    if all(kind == kinds[0] for kind in kinds):
        rows = np.concatenate([rows for rows, _ in stored])  # (rows, bytes of a row)
        return _of(rows, kinds[0])
    return stack([_of(rows, kind) for rows, kind in stored])


def _of(rows: np.ndarray, kind: Any) -> QuantizedMatrix:
    columns = rows.shape[1] // kind.n_bytes * kind.weights
    return from_gguf(rows, kind, (len(rows), columns))
