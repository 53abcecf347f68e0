"""ONNX files: onnxruntime computes the logits that are computed here."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

import tinygrad_llm as torch
from tinygrad_llm import text
from tinygrad_llm.cli import app
from tinygrad_llm.models import registry
from tinygrad_llm.models.onnx_file import save_onnx
from tinygrad_llm.training import save_checkpoint

SIZES = {"vocab_size": 31, "context_length": 20, "emb_dim": 12, "n_layers": 2, "n_heads": 6}
LLAMA = {**SIZES, "hidden_dim": 20, "n_kv_heads": 2, "head_dim": 4}
YARN = {"rope_type": "yarn", "factor": 4.0, "original_max_position_embeddings": 6}
CASES = {
    "gpt": ("GPT", SIZES),
    "parts": ("GPT", {**SIZES, "tie_weights": False, "qkv_bias": False, "attention": "swa",
                      "n_kv_heads": 3, "positions": "rotary", "window": 4, "ratio": 1}),
    "llama": ("Llama", {**LLAMA, "tie_weights": True}),
    "window": ("Llama", {**LLAMA, "window": 3, "rope_scaling": YARN}),
    "qwen2": ("Qwen2", LLAMA),
    "qwen3": ("Qwen3", LLAMA),
}  # fmt: skip


def made(name):
    torch.manual_seed(5)
    family = registry.find(CASES[name][0])
    model = family.model(family.config(**CASES[name][1])).eval()
    rng = np.random.default_rng(2)
    for parameter in model.parameters():
        parameter.array[...] += 0.2 * rng.normal(size=parameter.shape)
    return model


@pytest.mark.parametrize("name", CASES)
def test_onnxruntime_computes_the_same_logits(name, tmp_path):
    pytest.importorskip("onnx")
    runtime = pytest.importorskip("onnxruntime")
    model = made(name)
    path = save_onnx(model, tmp_path / "m.onnx")
    session = runtime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    rng = np.random.default_rng(0)
    for B, T in ((1, 1), (3, 7), (2, 20)):
        ids = rng.integers(0, 31, (B, T))
        (logits,) = session.run(["logits"], {"input_ids": ids})
        with torch.no_grad():
            expected = model(torch.tensor(ids)).numpy()
        assert logits.shape == expected.shape and np.abs(expected).max() > 0.5
        np.testing.assert_allclose(logits, expected, atol=1e-4, rtol=0)


def test_the_command_and_its_errors(tmp_path, monkeypatch):
    pytest.importorskip("onnx")
    characters = text.CharTokenizer([chr(i) for i in range(97, 97 + 30)], ["<|endoftext|>"])
    characters.save(tmp_path / "tokenizer.json")
    model = made("gpt")
    config = {"model": registry.describe(model), "seed": 1}
    data = {"tokenizer.json": (tmp_path / "tokenizer.json").read_bytes()}
    save_checkpoint(tmp_path / "run" / "checkpoints", 5, model, {}, config, files=data)

    def invoke(*arguments):
        done = CliRunner().invoke(app, ["export", *(str(a) for a in arguments)])
        return done.exit_code, done.output, str(done.exception)

    code, output, error = invoke("onnx", tmp_path / "run", tmp_path / "m.onnx")
    assert code == 0 and "MB for ONNX runtimes" in output, error
    card = Path(f"{tmp_path / 'm.onnx'}.md").read_text()
    assert 'session = onnxruntime.InferenceSession("m.onnx")' in card
    code, output, error = invoke("html", tmp_path / "run", tmp_path / "m.html")
    assert code == 0 and "MB for any browser" in output, error
    code, _, error = invoke("html", tmp_path / "run", tmp_path / "x", "--kind", "Q4_0")
    assert code != 0 and "kind must be F16 or F32 for html" in error
    monkeypatch.setattr("tinygrad_llm.models.onnx_file.MOST_BYTES", 1000)
    code, _, error = invoke("onnx", tmp_path / "run", tmp_path / "x")
    assert code != 0 and "one ONNX file holds at most" in error
    monkeypatch.setitem(sys.modules, "onnx", None)
    code, _, error = invoke("onnx", tmp_path / "run", tmp_path / "x")
    assert code != 0 and 'pip install "tinygrad_llm[onnx]"' in error
    assert not (tmp_path / "x").exists()
