"""The GPT of gpt_model.py: its gradients, its text, and gradients through shortcuts."""

import torch
import torch.nn as nn

CONFIG = {
    "vocab_size": 211, "context_length": 32, "emb_dim": 48, "n_heads": 4, "n_layers": 3,
    "drop_rate": 0.1, "qkv_bias": False,
}  # fmt: skip

torch.manual_seed(123)
model = GPTModel(CONFIG)
print(f"{sum(p.numel() for p in model.parameters()):,} parameters")
print(model.trf_blocks[0].ff)
idx = torch.randint(0, CONFIG["vocab_size"], (2, 12))
record("idx", idx)
logits = model(idx)
record("logits in training", logits)
loss = nn.functional.cross_entropy(logits[:, :-1].flatten(0, 1), idx[:, 1:].flatten())
record("loss", loss)
print("loss", loss.item())
loss.backward()
for name, parameter in model.named_parameters():
    record(f"grad {name}", parameter.grad)
model.eval()
start = idx[:1, :4]
exact("greedy", generate(model, start, 20, CONFIG["context_length"]))
torch.manual_seed(123)
exact("sampled", generate(model, start, 30, CONFIG["context_length"], 1.4, 25))
print(generate(model, start, 10, 8).squeeze(0).tolist())


class Deep(nn.Module):
    def __init__(self, sizes, shortcut):
        super().__init__()
        self.shortcut = shortcut
        self.layers = nn.ModuleList(
            [nn.Sequential(nn.Linear(a, b), GELU()) for a, b in zip(sizes, sizes[1:], strict=False)]
        )

    def forward(self, x):
        for layer in self.layers:
            y = layer(x)
            x = x + y if self.shortcut and x.shape == y.shape else y
        return x


for shortcut in (False, True):
    torch.manual_seed(123)
    deep = Deep([3, 3, 3, 3, 3, 1], shortcut)
    out = deep(torch.tensor([[1.0, 0.0, -1.0]]))
    nn.MSELoss()(out, torch.tensor([[0.0]])).backward()
    for name, parameter in deep.named_parameters():
        if "weight" in name:
            record(f"{shortcut} {name}", parameter.grad.abs().mean())
            print(f"{name} has gradient mean of {parameter.grad.abs().mean().item():.6f}")
