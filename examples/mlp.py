"""A network of two layers learns two moons: the loop that PyTorch's users know."""

import math

import tinygrad_llm as torch
import tinygrad_llm.nn.functional as F
from tinygrad_llm import nn

torch.manual_seed(0)
angles = torch.rand(200) * math.pi
upper = torch.stack([angles.cos(), angles.sin()], dim=1)  # (200, 2)
lower = torch.stack([1 - angles.cos(), 0.5 - angles.sin()], dim=1)  # (200, 2)
points = torch.cat([upper, lower]) + 0.1 * torch.randn(400, 2)
classes = torch.arange(2).repeat_interleave(200)  # (400)

model = nn.Sequential(nn.Linear(2, 32), nn.Tanh(), nn.Linear(32, 2))
optimizer = torch.optim.AdamW(model.parameters(), lr=0.02)
for step in range(201):
    loss = F.cross_entropy(model(points), classes)
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
    if step % 50 == 0:
        right = (model(points).argmax(dim=1) == classes).float().mean()
        print(f"step {step:3}   loss {loss.item():.4f}   right {right.item():.1%}")
