"""4-bit weights: how many bytes they take, and how much the output moves."""

import tinygrad_llm as torch
from tinygrad_llm.layers.quantized import quantize
from tinygrad_llm.models import Llama, LlamaConfig

config = LlamaConfig(
    vocab_size=256, context_length=64, emb_dim=128, n_heads=4, n_kv_heads=2, n_layers=2,
    hidden_dim=256,
)  # fmt: skip
ids = torch.arange(32)[None]  # (1, 32)
for name in ("int8", "q8_0", "q4_0", "q4_1", "nf4"):
    torch.manual_seed(0)
    model = Llama(config).eval()
    with torch.no_grad():
        exact = model(ids)
        quantize(model, name)
        error = (model(ids) - exact).norm() / exact.norm()
    print(f"{name:5}  error of the logits {error.item():.4f}")
