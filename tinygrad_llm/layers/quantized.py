"""Linear and Embedding whose weight stays quantised in memory, and is frozen.

    quantize(model, "q4_1")        every Linear and Embedding of a model, in place
    lora.add(model, names=["qkv"]) QLoRA: a frozen 4-bit base, and LoRA layers that are trained

Formats: see tinygrad_llm/weights/quantized. They are quantised on a CPU; model.to("cuda") moves the
codes as they are, and a GPU widens a matrix at every use.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ..arrays.devices import device_of, follow, gpus, to_numpy, xp_of
from ..arrays.ids import check_ids
from ..autograd.function import Function
from ..files.json_files import parse_json
from ..files.untrusted import describe
from ..nn.linear import Linear
from ..nn.module import Module
from ..nn.parameter import Parameter
from ..nn.sparse import Embedding
from ..tensor import Tensor, wrap
from ..weights.formats.safetensors import SafeTensorsFile, save_file
from ..weights.quantized import QuantizedMatrix, check_format, described, fits, restored
from ..weights.quantized import quantize as quantize_matrix
from .patterns import matches

__all__ = [
    "QuantizedEmbedding",
    "QuantizedLinear",
    "count",
    "dequantize",
    "load",
    "matrices",
    "quantize",
    "save",
]


class QuantizedProduct(Function):
    """y = x·Ŵᵀ for every row of x, where Ŵ is the matrix that the quantised one stands for.

    Backward: ∂L/∂x = g·Ŵ. Ŵ is constant, so it has no gradient; nothing is saved but Ŵ's codes.
    """

    @staticmethod
    def forward(ctx: Any, x: Tensor, matrix: QuantizedMatrix) -> Tensor:
        ctx.matrix = matrix
        _check_place(x.array, matrix)
        rows = x.array.reshape(-1, matrix.shape[1])  # (..., I) -> (N, I)
        return wrap(matrix.product(rows).reshape(*x.shape[:-1], matrix.shape[0]))  # (..., O)

    @staticmethod
    def backward(ctx: Any, g: Tensor) -> tuple[Tensor, None]:
        O, I = ctx.matrix.shape
        rows = xp_of(g.array).ascontiguousarray(g.array).reshape(-1, O)  # (..., O) -> (N, O)
        return wrap(ctx.matrix.product_back(rows).reshape(*g.shape[:-1], I)), None  # (..., I)


def _check_place(array: Any, matrix: QuantizedMatrix) -> None:
    """Let CuPy work on the GPU that has an input and a matrix, if they are on one.

    Raises: RuntimeError if they are on different devices.
    """
    if device_of(array)[0] != matrix.device[0]:
        raise RuntimeError(
            "Expected all tensors to be on the same device, but found an input on "
            f"{device_of(array)[0]} and quantised weights on {matrix.device[0]}: move the model "
            "with model.to(device) and its input with .to(device)"
        )
    if gpus.several:
        follow([array, *matrix.arrays.values()], "quantised weights")


class QuantizedLinear(Module):
    """y = x·Ŵᵀ + b with a frozen, quantised W: x (..., in_features) -> (..., out_features).

    weight   a Linear's weight (out_features, in_features), or a QuantizedMatrix; see `matrix`
    bias     (out_features) or None, frozen too
    kind     the format if weight is not quantised yet: "int8", "q8_0", "q4_0", "q4_1" or "nf4"
    Raises: ValueError for another format, or rows that do not fill its blocks.
    """

    _movable = ("matrix",)

    def __init__(self, weight: Any, bias: Tensor | None = None, kind: str = "q8_0") -> None:
        super().__init__()
        self.matrix = _quantized(weight, kind)
        self.out_features, self.in_features = self.matrix.shape
        if bias is None:
            self.register_parameter("bias", None)
        else:
            self.bias = bias if isinstance(bias, Parameter) else Parameter(bias)
            self.bias.requires_grad_(False)

    def forward(self, input: Tensor) -> Tensor:
        y: Tensor = QuantizedProduct.apply(input, self.matrix)
        return y if self.bias is None else y + self.bias

    def extra_repr(self) -> str:
        return (
            f"in_features={self.in_features}, out_features={self.out_features}, "
            f"bias={self.bias is not None}, {self.matrix.kind}"
        )


class QuantizedEmbedding(Module):
    """Rows of a frozen, quantised table: ids (...) -> (..., embedding_dim).

    weight   (num_embeddings, embedding_dim), or a QuantizedMatrix, which an output layer may share
    kind     as QuantizedLinear's
    Raises: ValueError for another format, or rows that do not fill its blocks; IndexError for an id
    outside of the table.
    """

    _movable = ("matrix",)

    def __init__(self, weight: Any, kind: str = "q8_0") -> None:
        super().__init__()
        self.matrix = _quantized(weight, kind)
        self.num_embeddings, self.embedding_dim = self.matrix.shape

    def forward(self, input: Tensor) -> Tensor:
        """The rows with these numbers: ids (...) -> (..., embedding_dim).

        Raises: IndexError for an id outside of the table.
        """
        ids = input.array
        _check_place(ids, self.matrix)
        check_ids(ids, self.num_embeddings, "embedding")
        rows = self.matrix.take(ids.reshape(-1))  # (...) -> (N) -> (N, embedding_dim)
        return wrap(rows.reshape(*ids.shape, self.embedding_dim))  # (..., embedding_dim)

    def extra_repr(self) -> str:
        return f"{self.num_embeddings}, {self.embedding_dim}, {self.matrix.kind}"


def _quantized(weight: Any, kind: str) -> QuantizedMatrix:
    if isinstance(weight, QuantizedMatrix):
        return weight
    return _quantized_array(getattr(weight, "array", weight), kind)


def _quantized_array(array: Any, kind: str) -> QuantizedMatrix:
    """A matrix of floats in a format, on the array's device."""
    return quantize_matrix(to_numpy(array), kind).on(*device_of(array))


# ------------------------------------------------------------------------------ whole models
def chosen_kind(n: int, kind: str, is_table: bool) -> str:
    """The format of rows of n weights: `kind` if they fill its blocks, otherwise int8 rows.

    is_table: whether they are an embedding or an output layer, which keep 8 bits: with 4 most of
    the error of a model would come from them
    """
    if is_table and check_format(kind) in ("q4_0", "q4_1", "nf4"):
        kind = "q8_0"
    return kind if fits(n, kind) else "int8"


def is_table(name: str, module: Module) -> bool:
    """Whether a module is an embedding or a model's output layer."""
    return isinstance(module, Embedding) or name.rpartition(".")[2] == "out_head"


def quantize(model: Module, kind: str, names: Sequence[str] = ("*",)) -> list[str]:
    """Quantise the Linear and Embedding modules of a model in place; returns their names.

    kind: "int8", "q8_0", "q4_0", "q4_1" or "nf4". Rows that do not fill its blocks become int8;
        with 4 bits embeddings and output layers are q8_0
    names: shell patterns of dotted names or of their last parts, as lora.add takes them
    What is left of the model is frozen. A weight that an output layer shares with the embedding is
    quantised once, and stays shared.
    Raises: ValueError for another format, or if no module matches.
    """
    check_format(kind)
    chosen = [
        (name, module)
        for name, module in model.named_modules()
        if name and type(module) in (Linear, Embedding) and matches(name, names)
    ]
    if not chosen:
        raise ValueError(f"quantize: no Linear or Embedding is called {' or '.join(names)}")
    made: dict[int, QuantizedMatrix] = {}
    tables = {id(m.weight.array) for name, m in model.named_modules() if _has_table(name, m)}
    for _, module in chosen:
        array = module.weight.array
        if id(array) not in made:
            own = chosen_kind(array.shape[1], kind, id(array) in tables)
            made[id(array)] = _quantized_array(array, own)
    for name, module in chosen:
        model.set_submodule(name, replacement(module, made[id(module.weight.array)]))
    model.requires_grad_(False)
    return [name for name, _ in chosen]


def _has_table(name: str, module: Module) -> bool:
    return type(module) in (Linear, Embedding) and is_table(name, module)


def replacement(module: Module, matrix: QuantizedMatrix) -> Module:
    """The quantised layer in place of a Linear or Embedding, in the same mode."""
    if isinstance(module, Linear | QuantizedLinear):
        return QuantizedLinear(matrix, module.bias).train(module.training)
    return QuantizedEmbedding(matrix).train(module.training)


def dequantize(model: Module) -> None:
    """Put a Linear or Embedding of float32 in place of every quantised layer, with the same values.

    A matrix that layers share becomes one parameter; LoRA layers stay. All of it is frozen.
    """
    made: dict[int, Parameter] = {}
    for name, module in list(model.named_modules()):
        if not isinstance(module, QuantizedLinear | QuantizedEmbedding):
            continue
        key = id(module.matrix)
        if key not in made:
            made[key] = Parameter(wrap(module.matrix.dequantize()), False)
        model.set_submodule(name, _plain(module, made[key]).train(module.training))


def _plain(module: Any, weight: Parameter) -> Module:
    from ..nn.utils import skip_init

    plain: Any
    if isinstance(module, QuantizedEmbedding):
        plain = skip_init(Embedding, 1, module.embedding_dim)
        plain.num_embeddings = module.num_embeddings
    else:
        plain = skip_init(Linear, 1, 1, bias=module.bias is not None)
        plain.in_features, plain.out_features = module.in_features, module.out_features
        plain.bias = module.bias
    plain.weight = weight
    return plain


# ------------------------------------------------------------------------------ counted and stored
def _named(model: Module) -> dict[str, Any]:
    """Every quantised layer by its dotted name."""
    layers = (QuantizedLinear, QuantizedEmbedding)
    return {name: module for name, module in model.named_modules() if isinstance(module, layers)}


def matrices(model: Module) -> list[QuantizedMatrix]:
    """The quantised matrices of a model; one that layers share stands there once."""
    return list({id(layer.matrix): layer.matrix for layer in _named(model).values()}.values())


def count(model: Module) -> int:
    """How many weights of a model are quantised; shared ones count once."""
    return sum(matrix.shape[0] * matrix.shape[1] for matrix in matrices(model))


def save(model: Module, path: str | Path) -> None:
    """Write the quantised weights, which state_dict() does not hold, to a safetensors file.

    The arrays are those of each matrix, "0.codes" and so on; the metadata says which layer has
    which matrix, and how it is made of its arrays.
    Raises: OSError if the disk refuses.
    """
    own = matrices(model)
    number = {id(matrix): i for i, matrix in enumerate(own)}
    layers = {name: number[id(layer.matrix)] for name, layer in _named(model).items()}
    arrays = {
        f"{i}.{k}": to_numpy(a) for i, matrix in enumerate(own) for k, a in matrix.arrays.items()
    }
    about = {"matrices": [described(matrix) for matrix in own], "layers": layers}
    save_file(arrays, path, {"quantized": json.dumps(about)})


def load(model: Module, path: str | Path) -> None:
    """Put the quantised weights of a file of `save` into a model, in place of its layers.

    The layers may be Linear, Embedding, or quantised ones; LoRA layers around them stay.
    Raises: ValueError if the file does not fit the model, or is damaged; as SafeTensorsFile.
    """
    file = SafeTensorsFile(path)
    about = _about(file, str(path))
    made = []
    for i, each in enumerate(about["matrices"]):
        start = f"{i}."
        arrays = {name.removeprefix(start): np.array(file[name]) for name in file
                  if name.startswith(start)}  # fmt: skip
        try:
            made.append(restored(each, arrays))
        except (ValueError, TypeError) as error:
            raise ValueError(f"{path}: matrix {i}: {error}") from None
    known = dict(model.named_modules())
    for name, i in about["layers"].items():
        module = known.get(name)
        plain = isinstance(module, Linear | Embedding)
        if module is None or not (plain or name in _named(model)):
            raise ValueError(f"{path}: the model has no Linear or Embedding called {name[:80]!r}")
        if not (type(i) is int and 0 <= i < len(made)):
            raise ValueError(f"{path}: {name} has the matrix {describe(i)} of {len(made)}")
        shape = _shape(module)
        if made[i].shape != shape:
            raise ValueError(f"{path}: {name} has shape {made[i].shape}, the model expects {shape}")
        made[i] = made[i].on(*_device(module))
        model.set_submodule(name, replacement(module, made[i]))
    for layer in _named(model).values():
        for parameter in layer.parameters():
            parameter.requires_grad_(False)


def _about(file: SafeTensorsFile, where: str) -> dict[str, Any]:
    """Raises: ValueError if a file's metadata does not say what it holds."""
    try:
        about = parse_json(file.metadata.get("quantized", ""), where)
    except ValueError as error:
        raise ValueError(f"{where} does not say what it holds: {error}") from None
    matrices = about.get("matrices") if isinstance(about, dict) else None
    layers = about.get("layers") if isinstance(about, dict) else None
    if not isinstance(matrices, list) or not isinstance(layers, dict):
        raise ValueError(f"{where} should say which matrices and layers it holds")
    return {"matrices": matrices, "layers": layers}


def _device(module: Any) -> tuple[str, int]:
    """Where the weight of a Linear, an Embedding, or their quantised forms is."""
    if isinstance(module, QuantizedLinear | QuantizedEmbedding):
        return module.matrix.device
    kind, index = device_of(module.weight.array)
    return ("cpu", 0) if kind == "meta" else (kind, index)


def _shape(module: Any) -> tuple[int, int]:
    """(rows, columns) of the weight of a Linear, an Embedding, or their quantised forms."""
    if isinstance(module, Embedding | QuantizedEmbedding):
        return module.num_embeddings, module.embedding_dim
    return module.out_features, module.in_features
