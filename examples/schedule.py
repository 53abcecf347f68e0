"""A learning rate that warms up and falls along a cosine, with PyTorch's schedules."""

import tinygrad_llm as torch
from tinygrad_llm import nn
from tinygrad_llm.optim.lr_scheduler import CosineAnnealingLR, LinearLR, SequentialLR

torch.manual_seed(0)
model = nn.Linear(4, 1)
optimizer = torch.optim.AdamW(model.parameters(), lr=0.1)
warm_up = LinearLR(optimizer, start_factor=0.1, total_iters=5)
cosine = CosineAnnealingLR(optimizer, T_max=15, eta_min=0.001)
scheduler = SequentialLR(optimizer, [warm_up, cosine], milestones=[5])
x, y = torch.randn(32, 4), torch.randn(32, 1)
for step in range(20):
    rate = optimizer.param_groups[0]["lr"]
    loss = ((model(x) - y) ** 2).mean()
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
    scheduler.step()
    print(f"{step:2}  {rate:.4f}  {'#' * round(rate * 400)}  loss {loss.item():.3f}")
