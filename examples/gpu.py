"""The same step on a GPU if there is one: a device, and bfloat16 products under autocast."""

import tinygrad_llm as torch
from tinygrad_llm.models import GPT, GPTConfig

device = "cuda" if torch.cuda.is_available() else "cpu"
torch.manual_seed(0)
model = GPT(GPTConfig(vocab_size=100, context_length=32, emb_dim=64, n_heads=4, n_layers=2))
model.to(device)
optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3)
ids = torch.randint(0, 100, (4, 33), device=device)
for step in range(5):
    with torch.autocast(device, dtype=torch.bfloat16, enabled=device == "cuda"):
        loss = model.loss(ids[:, :-1], ids[:, 1:])
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
    print(f"{device}: step {step}, loss {loss.item():.4f}")
