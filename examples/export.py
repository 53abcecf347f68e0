"""A model goes out as a folder for transformers and as GGUF for llama.cpp, and comes back."""

import tempfile
from pathlib import Path

import tinygrad_llm as torch
from tinygrad_llm.models import Llama, LlamaConfig, from_pretrained, save_pretrained
from tinygrad_llm.models.exporting import save_gguf

torch.manual_seed(0)
config = LlamaConfig(
    vocab_size=96, context_length=64, emb_dim=64, n_heads=4, n_kv_heads=2, n_layers=2, hidden_dim=96
)
model = Llama(config).eval()
ids = torch.arange(10)[None]  # (1, 10)
with tempfile.TemporaryDirectory() as folder:
    save_pretrained(model, Path(folder, "hf"))
    save_gguf(model, Path(folder, "model.gguf"), "Q8_0", {})
    again = from_pretrained(Path(folder, "hf"))
    small = from_pretrained(Path(folder, "model.gguf"))
    print(sorted(path.name for path in Path(folder, "hf").iterdir()))
    print("largest difference, folder:", (again(ids) - model(ids)).abs().max().item())
    print("largest difference, 8 bits:", (small(ids) - model(ids)).abs().max().item())
