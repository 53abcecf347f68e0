"""A user's program: a small classifier, its data, a custom op, a schedule, generation."""

from __future__ import annotations

from typing import Any

import tinygrad_llm as torch
import tinygrad_llm.nn.functional as F
from tinygrad_llm import nn
from tinygrad_llm.autograd import Function
from tinygrad_llm.generation import Sampling, generate
from tinygrad_llm.models import GPT, GPTConfig
from tinygrad_llm.optim.lr_scheduler import CosineAnnealingLR
from tinygrad_llm.utils.data import DataLoader, TensorDataset


class Square(Function):
    @staticmethod
    def forward(ctx: Any, x: torch.Tensor) -> torch.Tensor:
        ctx.save_for_backward(x)
        return x * x

    @staticmethod
    def backward(ctx: Any, g: torch.Tensor) -> torch.Tensor:
        x: torch.Tensor = ctx.saved_tensors[0]
        return 2 * x * g


class Net(nn.Module):
    def __init__(self, channels: int, classes: int) -> None:
        super().__init__()
        self.hidden = nn.Linear(channels, 16)
        self.norm = nn.LayerNorm(16)
        self.out = nn.Linear(16, classes)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        h = F.gelu(self.norm(self.hidden(x)))
        return self.out(h)


def train(model: nn.Module, steps: int) -> float:
    x, y = torch.randn(64, 8), torch.randint(0, 3, (64,))
    loader = DataLoader(TensorDataset(x, y), batch_size=16, shuffle=True)
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3, weight_decay=0.01)
    schedule = CosineAnnealingLR(optimizer, T_max=steps)
    loss = torch.zeros(())
    for _ in range(steps):
        for xb, yb in loader:
            loss = F.cross_entropy(model(xb), yb)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        schedule.step()
    return loss.item()


model = Net(8, 3)
final: float = train(model, 2)
shape: tuple[int, ...] = torch.randn(2, 3).transpose(0, 1).shape
total = Square.apply(torch.ones(3)).sum().item()
gpt = GPT(GPTConfig(vocab_size=50, context_length=16, emb_dim=32, n_heads=2, n_layers=1))
ids = generate(gpt, torch.zeros(1, 1, dtype=torch.int64), 5, sampling=Sampling(top_k=5))
with torch.no_grad():
    probabilities = torch.softmax(gpt(ids), dim=-1)
print(final, shape, total, probabilities.argmax(dim=-1).tolist())
