"""A model from a source of weights, by its family's table of names; and back into a folder.

The names, shapes and sizes come from a module of weights/families: `read_config(config, where)`
returns the fields of our config, `weights(fields)` the table. Every weight is read, converted and
written into the model one at a time, so that the peak of memory is the model and one weight.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, fields
from pathlib import Path
from typing import Any

import numpy as np

from ..files.atomic import atomic_write
from ..layers import lora, quantized
from ..nn.utils import skip_init
from ..tensor import dtypes
from ..weights.families.gguf_names import GGUFSource
from ..weights.families.table import Weight, check, to_huggingface, without_prefix
from ..weights.formats.pages import drop_pages
from ..weights.formats.safetensors import save_file
from ..weights.sources import INDEX_FILES, WHOLE_FILES, DirectSource, MappedSource, Source
from .base import PretrainedModel
from .quantizing import fill_quantized
from .registry import Family

__all__ = ["SHARD_BYTES", "default_dtype", "load_family", "published", "save_family"]

CHUNK_BYTES = 4_000_000  # that are copied before their pages of the file go
SHARD_BYTES = 5_000_000_000  # of one file of weights: more goes into the next
HEAD, EMBEDDING = "out_head.weight", "tok_emb.weight"
TOKEN_IDS = ("bos_token_id", "eos_token_id", "pad_token_id")  # of config.json


@contextmanager
def default_dtype(dtype: dtypes.dtype | None) -> Iterator[None]:
    """Within it new tensors have this dtype; None for float32.

    Raises: TypeError if it is not a floating-point dtype.
    """
    before = dtypes.get_default_dtype()
    dtypes.set_default_dtype(dtypes.float32 if dtype is None else dtype)
    try:
        yield
    finally:
        dtypes.set_default_dtype(before)


class _Renamed:
    """A source under the full names of Hugging Face, without what its family does not read."""

    def __init__(self, source: Source, names: Mapping[str, str]) -> None:
        self.source, self.where, self.config = source, source.where, source.config
        self.is_gguf = isinstance(source, GGUFSource)
        self._names = dict(names)

    def names(self) -> list[str]:
        return list(self._names)

    def shape(self, name: str) -> tuple[int, ...]:
        return self.source.shape(self._names[name])

    def read(self, name: str) -> np.ndarray:
        return self.source.read(self._names[name])

    def read_into(self, name: str, out: np.ndarray) -> bool:
        inner = self.source
        return isinstance(inner, DirectSource) and inner.read_into(self._names[name], out)

    def drop(self, name: str) -> None:
        if isinstance(self.source, MappedSource):
            self.source.drop(self._names[name])

    def stored(self, name: str) -> Any:
        """A GGUFSource's."""
        return self.source.stored(self._names[name])  # type: ignore[attr-defined]


def load_family(
    family: Family, source: Source, changes: Mapping[str, Any], dtype: dtypes.dtype | None = None,
    quantize: str | None = None,
) -> PretrainedModel:  # fmt: skip
    """The model of a family with the weights of a source, in evaluation mode.

    changes: fields of the family's config, in place of those that config.json says; what the
    weights fix cannot change. dtype: of the parameters, float32 if None.
    quantize: the format in which matrices stay, see from_pretrained
    Raises: ValueError for missing and unexpected weights, wrong shapes (with both shapes), a broken
    config.json; TypeError for a weight that is not floating-point, or an unknown field.
    """
    names: Any = family.names
    known = [field.name for field in fields(family.config)]  # type: ignore[arg-type]
    for name in changes:
        if name not in known:
            raise TypeError(f"{family.config.__name__} has no {name!r}; it has {', '.join(known)}")
    stored = _complete(family, names.read_config(source.config, source.where), source.where)
    renamed = _Renamed(source, without_prefix(source.names(), names.PREFIX, names.IGNORED))
    _check_counts(stored, renamed)
    there = set(renamed.names())
    expected = {n: w for n, w in names.weights(stored).items() if n in there or not w.copy}
    head = next((theirs for theirs, weight in expected.items() if weight.name == HEAD), None)
    tied = stored["tie_weights"] if head is None else _is_tied(
        renamed, stored, changes, head, expected
    )  # fmt: skip
    if head is not None and head not in there and (tied or stored["tie_weights"]):
        del expected[head]
    check(renamed, {n: w.shape for n, w in expected.items()}, f"the {family.name}")
    config = _changed(family, stored, {**changes, "tie_weights": tied}, source.where)
    with default_dtype(dtype):
        model: Any = skip_init(family.model, config)
    if quantize is not None:
        fill_quantized(model, expected, renamed, quantize)
    own = dict(model.named_parameters())
    filled = fill(own, expected, renamed)
    if not tied and HEAD in own and HEAD not in filled:  # a tied head that becomes separate
        own[HEAD].array[...] = own[EMBEDDING].array
    model.token_ids = {name: source.config.get(name) for name in TOKEN_IDS}
    return model.eval()


def _check_counts(stored: Mapping[str, Any], source: Source) -> None:
    """Before there is a row for each weight: each layer, and each of its experts, has one.

    Raises: ValueError if the fields describe more of them than the source has weights.
    """
    layers = stored["n_layers"] + stored.get("n_decoder_layers", 0)
    experts = stored.get("n_experts", 1)
    n = len(source.names())
    if layers * experts > n:
        of = f" of {experts:,} experts" if "n_experts" in stored else ""
        raise ValueError(
            f"{source.where}: its config.json describes {layers:,} layers{of}, but there are only "
            f"{n:,} weights: some are missing"
        )


def _is_tied(
    source: Source, stored: Mapping[str, Any], changes: Mapping[str, Any], head: str,
    expected: Mapping[str, Weight],
) -> bool:  # fmt: skip
    """Whether the model's output layer is to be its embedding.

    Raises: ValueError if tie_weights=True would lose an output layer that differs.
    """
    embedding = next(theirs for theirs, w in expected.items() if w.name == EMBEDDING)
    own = head in source.names() and embedding in source.names()
    if own and (stored["tie_weights"] or changes.get("tie_weights")):
        same = source.shape(head) == source.shape(embedding)
        own = not (same and np.array_equal(source.read(head), source.read(embedding)))
    else:
        own = not stored["tie_weights"]
    if changes.get("tie_weights") and own:
        raise ValueError(
            f"{source.where}: {head} is not {embedding}, so tie_weights=True would lose it"
        )
    return bool(changes.get("tie_weights", not own))


def _complete(family: Family, stored: Mapping[str, Any], where: str) -> dict[str, Any]:
    """All fields of the family's config, with those that it derives from others.

    Raises: ValueError if these fields describe no model.
    """
    try:
        return asdict(family.config(**stored))  # type: ignore[call-overload]
    except (TypeError, ValueError) as error:
        raise ValueError(f"{where}: its config.json describes no model: {error}") from None


def _changed(
    family: Family, stored: Mapping[str, Any], changes: Mapping[str, Any], where: str
) -> Any:
    """The family's config with the stored fields and the caller's changes.

    Raises: ValueError if a change would need weights of other shapes.
    """
    names: Any = family.names
    for name, value in changes.items():
        changed = asdict(family.config(**{**stored, name: value}))  # type: ignore[call-overload]
        if names.weights(changed) != names.weights(stored):
            raise ValueError(
                f"{where}: {name} is {stored[name]} in the weights and cannot be {value}"
            )
    return family.config(**{**stored, **changes})


def fill(own: Mapping[str, Any], expected: Mapping[str, Weight], source: Source) -> set[str]:
    """Reads every weight into its part of our parameters; returns our names of those that it met.

    A weight of a parameter that the model does not have (a tied head) is left out.
    """
    met = set()
    for theirs, weight in expected.items():
        if weight.name not in own:
            continue
        met.add(weight.name)
        _read(source, theirs, weight, own[weight.name].array[weight.part])
        if isinstance(source, MappedSource):
            source.drop(theirs)
    return met


def _read(source: Source, theirs: str, weight: Weight, part: np.ndarray) -> None:
    """Read one weight into its part of a parameter."""
    if isinstance(source, DirectSource) and not weight.turned and source.read_into(theirs, part):
        return
    array = source.read(theirs)
    if weight.turned or not array.ndim:
        part[...] = array.T if weight.turned else array.reshape(part.shape)
        return
    array = array.reshape(part.shape)
    step = max(1, CHUNK_BYTES * len(array) // max(1, array.nbytes))  # rows
    for start in range(0, len(array), step):
        rows = array[start : start + step]
        part[start : start + step] = rows
        drop_pages(rows)


def save_family(
    family: Family, model: PretrainedModel, folder: Path, shard_bytes: int = SHARD_BYTES
) -> None:
    """Writes a model's weights and config.json into a folder, as transformers reads them.

    Weights of more than shard_bytes go into several files with an index.
    Raises: OSError if the disk refuses.
    """
    weights, config = published(family, model)
    write_weights(folder, weights, model.state_dict(), shard_bytes)
    write_config(folder, config)


def published(family: Family, model: PretrainedModel) -> tuple[dict[str, Weight], dict[str, Any]]:
    """(the table of this model's weights but a tied output layer; the object of config.json).

    Raises: ValueError for a model with LoRA layers or quantised matrices.
    """
    if lora.layers(model) or quantized.matrices(model):
        raise ValueError(
            f"the {type(model).__name__} has LoRA layers or quantised matrices, which published "
            "files do not have: call models.exporting.plain(model) first"
        )
    names: Any = family.names
    tied = HEAD not in dict(model.named_parameters())  # as merging LoRA may have left it
    stored = {**asdict(model.config), "tie_weights": tied}
    weights = {
        theirs: weight
        for theirs, weight in names.weights(stored).items()
        if not (tied and weight.name == HEAD)
    }
    dtype = str(next(iter(model.parameters())).dtype).removeprefix("torch.")
    tokens = {**dict.fromkeys(TOKEN_IDS), **model.token_ids}  # null: not the family's default
    return weights, {**tokens, **names.write_config(stored), "dtype": dtype}


def write_config(folder: Path, config: Mapping[str, Any]) -> None:
    """Writes config.json."""
    with atomic_write(folder / "config.json") as file:
        file.write((json.dumps(config, indent=2) + "\n").encode())


def write_weights(
    folder: Path, weights: Mapping[str, Weight], state: Mapping[str, Any], shard_bytes: int
) -> None:
    """Writes model.safetensors, or shards of it and their index."""
    shards = _shards(weights, state, shard_bytes)
    whole, index_file = (folder / name for name in (WHOLE_FILES[0], INDEX_FILES[0]))
    before = {path for path in folder.glob("model-*-of-*.safetensors") if index_file.is_file()}
    if len(shards) == 1:
        save_file(dict(to_huggingface(weights, state)), whole, {"format": "pt"})
        for path in (index_file, *before):  # of weights that were there before
            path.unlink(missing_ok=True)
        return
    placed: dict[str, str] = {}
    for number, names in enumerate(shards, 1):
        file = f"model-{number:05}-of-{len(shards):05}.safetensors"
        part = {name: weights[name] for name in names}
        save_file(dict(to_huggingface(part, state)), folder / file, {"format": "pt"})
        placed |= dict.fromkeys(names, file)
    total = sum(_bytes(weight, state) for weight in weights.values())
    index = {"metadata": {"total_size": total}, "weight_map": placed}
    with atomic_write(index_file) as out:
        out.write((json.dumps(index, indent=2) + "\n").encode())
    for path in (whole, *before - {folder / file for file in placed.values()}):
        path.unlink(missing_ok=True)  # a whole file would be read in place of the shards


def _bytes(weight: Weight, state: Mapping[str, Any]) -> int:
    like = state.get(weight.name, state[EMBEDDING])  # a bias that is written as zeros
    return int(np.prod(weight.shape)) * int(like.array.itemsize)


def _shards(
    weights: Mapping[str, Weight], state: Mapping[str, Any], shard_bytes: int
) -> list[list[str]]:
    """The names of each file: in their order, as many as fit."""
    shards: list[list[str]] = [[]]
    room = shard_bytes
    for name, weight in weights.items():
        size = _bytes(weight, state)
        if size > room and shards[-1]:
            shards.append([])
            room = shard_bytes
        shards[-1].append(name)
        room -= size
    return shards
