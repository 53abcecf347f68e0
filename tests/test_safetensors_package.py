"""The package safetensors and its module `safetensors.torch` on top of this package."""

from __future__ import annotations

import subprocess
import sys

import pytest

pytest.importorskip("safetensors")

PROGRAM = """
import sys
import tinygrad_llm as torch
sys.modules["torch"] = torch
import numpy as np
from safetensors import safe_open
from safetensors.torch import load, load_file, load_model, save, save_file, save_model
path = sys.argv[1]
rng = np.random.default_rng(0)
tensors = {
    "float32": torch.randn(2, 3), "float64": torch.randn(4).double(), "half": torch.randn(3).half(),
    "bfloat16": torch.randn(3, 2).bfloat16(), "int64": torch.arange(5),
    "int32": torch.arange(3).int(),
    "int16": torch.arange(3).short(), "int8": torch.arange(3).to(torch.int8),
    "bool": torch.ones(2) > 0,
    "uint8": torch.arange(4).byte(), "scalar": torch.tensor(2.5), "empty": torch.zeros(0, 3),
    "complex": torch.polar(torch.ones(3), torch.arange(3.0)),
    "uint16": torch.from_numpy(np.arange(3, dtype=np.uint16)),
}
save_file(tensors, path, metadata={"format": "pt"})
for there in (load_file(path), load(save(tensors))):
    assert sorted(there) == sorted(tensors)
    for name, t in tensors.items():
        got = there[name]
        assert isinstance(got, torch.Tensor) and got.dtype is t.dtype and got.shape == t.shape, name
        assert got.tolist() == t.tolist(), name
first = load_file(path)["float32"]
first += 1.0  # what was read can be written to, and the file stays
assert load_file(path)["float32"].tolist() == tensors["float32"].tolist()
with safe_open(path, framework="pt", device="cpu") as f:
    assert f.metadata() == {"format": "pt"}
    assert f.get_slice("float32")[:, 1:].tolist() == tensors["float32"][:, 1:].tolist()
    assert f.get_tensor("int64").tolist() == [0, 1, 2, 3, 4]
for bad, text in (
    ({"x": torch.ones(2, 3).t()}, "non contiguous"), ({"x": 1}, "expected torch.Tensor"),
):
    try:
        save_file(bad, path)
    except ValueError as error:
        assert text in str(error), error
    else:
        raise AssertionError(text)
w = torch.ones(4)
try:
    save_file({"a": w, "b": w}, path)
except RuntimeError as error:
    assert "share memory" in str(error)
else:
    raise AssertionError("shared")
net = torch.nn.Sequential(torch.nn.Linear(2, 3), torch.nn.Linear(3, 2))
net[1].weight.data.fill_(2.0)
save_model(net, path)
other = torch.nn.Sequential(torch.nn.Linear(2, 3), torch.nn.Linear(3, 2))
assert load_model(other, path) == (set(), [])
assert (other(torch.ones(1, 2)) == net(torch.ones(1, 2))).all()
print("all right")
"""


def test_safetensors_torch_works_on_top_of_us(tmp_path):
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, str(tmp_path / "a.safetensors")],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.stdout.strip() == "all right", done.stderr
