"""LoRA layers by hand, added to frozen layers and trained for some steps."""

import math

import torch


class LoRALayer(torch.nn.Module):
    def __init__(self, in_dim, out_dim, rank, alpha):
        super().__init__()
        self.A = torch.nn.Parameter(torch.empty(in_dim, rank))
        torch.nn.init.kaiming_uniform_(self.A, a=math.sqrt(5))
        self.B = torch.nn.Parameter(torch.zeros(rank, out_dim))
        self.alpha, self.rank = alpha, rank

    def forward(self, x):
        return (self.alpha / self.rank) * (x @ self.A @ self.B)


class LinearWithLoRA(torch.nn.Module):
    def __init__(self, linear, rank, alpha):
        super().__init__()
        self.linear = linear
        self.lora = LoRALayer(linear.in_features, linear.out_features, rank, alpha)

    def forward(self, x):
        return self.linear(x) + self.lora(x)


def replace_linear_with_lora(model, rank, alpha):
    for name, module in model.named_children():
        if isinstance(module, torch.nn.Linear):
            setattr(model, name, LinearWithLoRA(module, rank, alpha))
        else:
            replace_linear_with_lora(module, rank, alpha)


torch.manual_seed(123)
model = torch.nn.Sequential(
    torch.nn.Linear(10, 32), torch.nn.GELU(), torch.nn.LayerNorm(32), torch.nn.Linear(32, 3)
)
X, y = torch.randn(64, 10), torch.randint(0, 3, (64,))
before = model(X)
for param in model.parameters():
    param.requires_grad = False
replace_linear_with_lora(model, rank=4, alpha=8)
print(model)
exact("unchanged", torch.equal(before, model(X)))
trainable = [p for p in model.parameters() if p.requires_grad]
print(sum(p.numel() for p in trainable), "trainable")
optimizer = torch.optim.AdamW(trainable, lr=0.01, weight_decay=0.1)
for step in range(10):
    loss = torch.nn.functional.cross_entropy(model(X), y)
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
    record(f"loss {step}", loss)
for name, parameter in model.named_parameters():
    record(name, parameter)
