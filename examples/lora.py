"""LoRA: a frozen model learns one new fact with two small matrices beside each projection."""

import tempfile

import tinygrad_llm as torch
from tinygrad_llm.layers import lora
from tinygrad_llm.models import GPT, GPTConfig

torch.manual_seed(0)
model = GPT(GPTConfig(vocab_size=64, context_length=16, emb_dim=64, n_heads=4, n_layers=2))
ids = torch.randint(0, 64, (1, 16))
before = model.loss(ids[:, :-1], ids[:, 1:]).item()
lora.add(model, rank=4, alpha=8, names=["qkv", "out_proj"])
print(lora.count(model))
optimizer = torch.optim.AdamW(lora.parameters(model), lr=0.02)
for _ in range(100):
    loss = model.loss(ids[:, :-1], ids[:, 1:])
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
print(f"loss before {before:.3f}, after {loss.item():.3f}")
with tempfile.TemporaryDirectory() as folder:
    lora.save(model, folder)  # A and B alone, in PEFT's format
    lora.load(model, folder)
lora.merge(model)  # W becomes W + B A: the layers cost what they did before
