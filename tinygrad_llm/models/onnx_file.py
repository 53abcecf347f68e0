"""Models as ONNX files, for other runtimes: the graph of a decoder, built with the package onnx.

Shapes in comments: B batch, T time (tokens), C channels, H heads, KV heads of keys, D head_dim.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from ..files.atomic import atomic_write
from ..files.packages import importing, install_extra
from ..files.paths import local_path
from .base import LanguageModel
from .described import Described, describe_decoder

__all__ = ["save_onnx"]

OPSET = 20  # the first with GELU's tanh form
MOST_BYTES = 2 * 10**9  # protobuf refuses 2 GiB


def save_onnx(model: LanguageModel, path: str | Path) -> Path:
    """Write a model into an ONNX file; returns its path.

    The graph takes `input_ids` (B, T) int64, at most context_length long, and returns `logits`
    (B, T, V) float32. It has no cache and no padding: each row is a text from its first token on.
    Raises: MissingPackage without the package onnx; ValueError for a model that `describe_decoder`
    does not know, or one above 2 GB; OSError if the disk refuses.
    """
    with importing("an ONNX file needs the package onnx", install_extra("onnx")):
        import onnx
    described = describe_decoder(model)
    n_bytes = sum(weight.nbytes for weight in described.weights.values())
    if n_bytes > MOST_BYTES:
        raise ValueError(
            f"the model has {n_bytes / 1e9:.1f} GB of weights, and one ONNX file holds at most "
            f"{MOST_BYTES / 1e9:.0f} GB: export hf or gguf"
        )
    built = _Graph(described, onnx).model(type(model).__name__)
    onnx.checker.check_model(built, full_check=True)
    target = local_path(path)
    with atomic_write(target) as file:
        file.write(built.SerializeToString())
    return target


class _Graph:
    """Nodes and arrays of a graph as they are added; values are known by their names."""

    def __init__(self, described: Described, onnx: Any) -> None:
        self.onnx, self.settings, self.weights = onnx, described.settings, described.weights
        self.nodes: list[Any] = []
        self.arrays: dict[str, np.ndarray] = {}

    def op(self, kind: str, *inputs: str, n: int = 1, **attributes: Any) -> Any:
        """Adds a node; returns the name of its output, or a list of n names."""
        names = [f"v{len(self.nodes)}_{i}" for i in range(n)]
        self.nodes.append(self.onnx.helper.make_node(kind, inputs, names, **attributes))
        return names[0] if n == 1 else names

    def number(self, value: Any, kind: str = "int64") -> str:
        """The name of a constant."""
        array = np.asarray(value, kind)
        name = f"{kind}_{'_'.join(map(str, array.ravel().tolist()))}_{array.ndim}"
        self.arrays[name] = array
        return name

    def weight(self, name: str, transposed: bool = False) -> str:
        """The name of a weight of the model."""
        key = f"{name}.T" if transposed else name
        array = self.weights[name]
        self.arrays[key] = np.ascontiguousarray(array.T if transposed else array)
        return key

    def linear(self, name: str, x: str) -> str:
        """x·Wᵀ + b: (..., in) -> (..., out)."""
        y = self.op("MatMul", x, self.weight(f"{name}.weight", transposed=True))
        bias = f"{name}.bias"
        return self.op("Add", y, self.weight(bias)) if bias in self.weights else y

    def norm(self, name: str, x: str) -> str:
        """LayerNorm or RMSNorm over the last axis."""
        weight, eps = self.weight(f"{name}.weight"), self.settings["norm_eps"]
        if self.settings["norm"] == "layer":
            bias = self.weight(f"{name}.bias")
            return self.op("LayerNormalization", x, weight, bias, axis=-1, epsilon=eps)
        square = self.op("ReduceMean", self.op("Mul", x, x), self.number([-1]))  # (..., 1)
        root = self.op("Sqrt", self.op("Add", square, self.number(eps, "float32")))
        return self.op("Mul", self.op("Div", x, root), weight)

    def model(self, name: str) -> Any:
        """The whole graph as a ModelProto."""
        helper, kinds, V = self.onnx.helper, self.onnx.TensorProto, self.settings["vocab_size"]
        x = self._embedded()  # (B, T) -> (B, T, C)
        for i in range(self.settings["n_layers"]):
            block = f"trf_blocks.{i}"
            x = self.op("Add", x, self._attention(i, self.norm(f"{block}.norm1", x)))
            x = self.op("Add", x, self._feed_forward(block, self.norm(f"{block}.norm2", x)))
        x = self.norm("final_norm", x)
        head = "out_head" if "out_head.weight" in self.weights else "tok_emb"
        logits = self.linear(head, x)  # (B, T, V)
        self.nodes.append(helper.make_node("Identity", [logits], ["logits"]))
        given = helper.make_tensor_value_info("input_ids", kinds.INT64, ["batch", "time"])
        made = helper.make_tensor_value_info("logits", kinds.FLOAT, ["batch", "time", V])
        arrays = [self.onnx.numpy_helper.from_array(a, key) for key, a in self.arrays.items()]
        graph = helper.make_graph(self.nodes, name, [given], [made], arrays)
        return helper.make_model(
            graph, producer_name="tinygrad_llm", ir_version=9,
            opset_imports=[helper.make_opsetid("", OPSET)],
        )  # fmt: skip

    def _embedded(self) -> str:
        """Vectors of the tokens, with those of their positions; prepares mask and angles."""
        x = self.op("Gather", self.weight("tok_emb.weight"), "input_ids")  # (B, T, C)
        T = self.op("Shape", "input_ids", start=1, end=2)  # (1)
        end = self.op("Squeeze", T)
        places = self.op("Range", self.number(0), end, self.number(1))  # (T)
        rows = self.op("Unsqueeze", places, self.number([1]))  # (T, 1)
        self.ahead = self.op("Sub", self.op("Unsqueeze", places, self.number([0])), rows)  # (T, T)
        self.masks: dict[int | None, str] = {}
        if "frequencies" in self.weights:
            reals = self.op("Cast", rows, to=self.onnx.TensorProto.FLOAT)  # (T, 1)
            angles = self.op("Mul", reals, self.weight("frequencies"))  # (T, D/2)
            factor = self.number(self.settings["attention_factor"], "float32")
            self.cos, self.sin = (
                self.op("Mul", self.op(kind, angles), factor) for kind in ("Cos", "Sin")
            )
        if "pos_emb.weight" in self.weights:
            x = self.op("Add", x, self.op("Gather", self.weight("pos_emb.weight"), places))
        return x

    def _mask(self, window: int | None) -> str:
        """What is added to the scores, (T, T): 0 where a token may look, −∞ elsewhere."""
        if window not in self.masks:
            hidden = self.op("Greater", self.ahead, self.number(0))
            if window is not None:
                past = self.op("LessOrEqual", self.ahead, self.number(-window))
                hidden = self.op("Or", hidden, past)
            never, zero = self.number(-np.inf, "float32"), self.number(0.0, "float32")
            self.masks[window] = self.op("Where", hidden, never, zero)
        return self.masks[window]

    def _turned(self, x: str) -> str:
        """x (B, heads, T, D), each pair of channels turned by the angles of its position."""
        if "frequencies" not in self.weights:
            return x
        a, b = self.op("Split", x, n=2, axis=-1, num_outputs=2)  # (B, heads, T, D/2) twice
        first = self.op("Sub", self.op("Mul", a, self.cos), self.op("Mul", b, self.sin))
        second = self.op("Add", self.op("Mul", b, self.cos), self.op("Mul", a, self.sin))
        return self.op("Concat", first, second, axis=-1)  # (B, heads, T, D)

    def _attention(self, i: int, x: str) -> str:
        s, name = self.settings, f"trf_blocks.{i}.att"
        H, KV, D = s["n_heads"], s["n_kv_heads"], s["head_dim"]
        sizes = self.number([H * D, KV * D, KV * D])
        parts = self.op("Split", self.linear(f"{name}.qkv", x), sizes, n=3, axis=-1)
        q, k, v = (
            self.op("Transpose", self.op("Reshape", part, self.number([0, 0, heads, D])),
                    perm=[0, 2, 1, 3])  # (B, T, heads·D) -> (B, heads, T, D)
            for part, heads in zip(parts, (H, KV, KV), strict=True)
        )  # fmt: skip
        if s["qk_norm"]:
            q, k = self.norm(f"{name}.q_norm", q), self.norm(f"{name}.k_norm", k)
        q, k = self._turned(q), self._turned(k)
        if KV < H:
            k, v = self._repeated(k), self._repeated(v)  # (B, KV, T, D) -> (B, H, T, D)
        keys = self.op("Transpose", k, perm=[0, 1, 3, 2])  # (B, H, D, T)
        scores = self.op("Mul", self.op("MatMul", q, keys), self.number(s["scale"], "float32"))
        scores = self.op("Add", scores, self._mask(s["windows"][i]))  # (B, H, T, T)
        context = self.op("MatMul", self.op("Softmax", scores, axis=-1), v)  # (B, H, T, D)
        context = self.op("Transpose", context, perm=[0, 2, 1, 3])  # (B, T, H, D)
        return self.linear(
            f"{name}.out_proj", self.op("Reshape", context, self.number([0, 0, H * D]))
        )

    def _repeated(self, x: str) -> str:
        """Each head of keys or values for its group of queries: (B, KV, T, D) -> (B, H, T, D)."""
        s = self.settings
        group = s["n_heads"] // s["n_kv_heads"]
        places = [head // group for head in range(s["n_heads"])]
        return self.op("Gather", x, self.number(places), axis=1)

    def _feed_forward(self, block: str, x: str) -> str:
        if self.settings["feed_forward"] == "gelu_new":
            hidden = self.op("Gelu", self.linear(f"{block}.ff.layers.0", x), approximate="tanh")
            return self.linear(f"{block}.ff.layers.2", hidden)
        both = self.linear(f"{block}.ff.gate_up", x)  # (B, T, 2F)
        a, b = self.op("Split", both, n=2, axis=-1, num_outputs=2)  # (B, T, F) twice
        silu = self.op("Mul", a, self.op("Sigmoid", a))
        return self.linear(f"{block}.ff.down", self.op("Mul", silu, b))
