"""The peak of memory while a model is loaded: its weights, and little more, from every format."""

import os
import subprocess
import sys
import tracemalloc
from dataclasses import replace

import pytest

import tinygrad_llm as torch
from tinygrad_llm.models.exporting import save_gguf
from tinygrad_llm.models.llama import Llama, LlamaConfig
from tinygrad_llm.models.pretrained import from_pretrained, save_pretrained

CONFIG = LlamaConfig(
    vocab_size=16384, context_length=64, emb_dim=256, hidden_dim=1024, n_layers=4, n_heads=4,
    n_kv_heads=2, head_dim=64,
)  # fmt: skip


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """The same model in every format; a third of it is its embedding, a third its output layer."""
    folder = tmp_path_factory.mktemp("models")
    model = Llama(CONFIG)
    save_pretrained(model, folder / "whole")
    save_pretrained(model, folder / "shards", shard_bytes=6_000_000)
    for kind in ("F32", "F16", "Q8_0", "Q4_1"):
        save_gguf(model, folder / f"{kind}.gguf", kind)
    model.to(torch.bfloat16)
    save_pretrained(model, folder / "bfloat16")
    return folder


def peak_and_bytes(path, **options):
    """(peak of the memory that was taken while loading, bytes of the model's weights)."""
    tracemalloc.start()
    model = from_pretrained(path, **options)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    matrices = {id(m.matrix): m.matrix.nbytes for m in model.modules() if hasattr(m, "matrix")}
    return peak, sum(p.nbytes for p in model.parameters()) + sum(matrices.values())


NAMES = ["whole", "shards", "F32.gguf", "F16.gguf", "Q8_0.gguf", "Q4_1.gguf"]


@pytest.mark.parametrize("name", [*NAMES, "bfloat16"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float16])
def test_the_peak_of_loading_is_the_weights(name, dtype, folder):
    if name == "bfloat16":
        pytest.importorskip("ml_dtypes")  # without it one weight at a time is widened first
    peak, n_bytes = peak_and_bytes(folder / name, dtype=dtype)
    assert n_bytes == sum(p.numel() for p in Llama(CONFIG).parameters()) * dtype.itemsize
    assert n_bytes < peak <= 1.1 * n_bytes


CHILD = """
import sys
from tinygrad_llm.models.llama import LlamaConfig
from tinygrad_llm.models.pretrained import from_pretrained
import numpy as np
def peak():  # of this program, not of the one that it was forked from, which ru_maxrss counts
    with open("/proc/self/status") as file:
        return next(int(line.split()[1]) for line in file if line.startswith("VmHWM")) * 1024
np.ones((64, 64), "f4") @ np.ones((64, 64), "f4")
before = peak()
from_pretrained(sys.argv[1], **eval(sys.argv[2]))
print(peak() - before)
"""


def resident(path, **options):
    """How far loading raises the peak of a fresh process, in bytes."""
    command = [sys.executable, "-c", CHILD, str(path), repr(options)]
    without = {**os.environ, "TINYGRAD_LLM_LOOPS": "0"}  # Numba takes more than the model
    done = subprocess.run(command, capture_output=True, text=True, check=True, env=without)
    return int(done.stdout)


@pytest.mark.skipif(sys.platform != "linux", reason="the peak of a process is read as on Linux")
def test_a_fresh_process_holds_the_weights_and_the_file_that_it_maps(folder):
    """Pages of a mapped file count while they are in memory; the system may take them back."""
    path = folder / "Q8_0.gguf"
    floats = sum(p.numel() for p in Llama(CONFIG).parameters()) * 4
    file = path.stat().st_size
    assert 0.9 * floats < resident(path) < 1.1 * floats + 8e6
    assert resident(path, quantize="gguf") < 1.6 * file + 8e6 < 0.9 * floats
    assert resident(folder / "whole") < 1.1 * floats + 8e6


@pytest.mark.parametrize("kind", ["whole", "gguf"])
def test_a_tied_output_layer_takes_no_memory_while_it_is_loaded(kind, tmp_path):
    model = Llama(replace(CONFIG, tie_weights=True))
    path = tmp_path / kind
    save_gguf(model, path, "Q8_0") if kind == "gguf" else save_pretrained(model, path)
    peak, n_bytes = peak_and_bytes(path)
    assert n_bytes == sum(p.nbytes for p in model.parameters())
    assert n_bytes < peak <= 1.1 * n_bytes
