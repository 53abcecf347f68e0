"""A training loop with dropout, warm-up and cosine learning rates, clipping and AdamW."""

import math

import torch
import torch.nn as nn
from torch.optim.lr_scheduler import CosineAnnealingLR, LambdaLR
from torch.utils.data import DataLoader, Dataset


class Windows(Dataset):
    def __init__(self, ids, length, stride):
        self.inputs, self.targets = [], []
        for i in range(0, len(ids) - length, stride):
            self.inputs.append(torch.tensor(ids[i : i + length]))
            self.targets.append(torch.tensor(ids[i + 1 : i + length + 1]))

    def __len__(self):
        return len(self.inputs)

    def __getitem__(self, i):
        return self.inputs[i], self.targets[i]


class Model(nn.Module):
    def __init__(self, vocab, d, layers):
        super().__init__()
        self.emb, self.pos = nn.Embedding(vocab, d), nn.Embedding(16, d)
        self.blocks = nn.ModuleList(
            nn.ModuleDict(
                {
                    "norm1": nn.LayerNorm(d),
                    "att": nn.MultiheadAttention(d, 4, dropout=0.1, batch_first=True),
                    "norm2": nn.LayerNorm(d),
                    "ff": nn.Sequential(
                        nn.Linear(d, 4 * d), nn.GELU(approximate="tanh"), nn.Linear(4 * d, d),
                        nn.Dropout(0.1),
                    ),
                }
            )
            for _ in range(layers)
        )  # fmt: skip
        self.norm, self.head = nn.LayerNorm(d), nn.Linear(d, vocab)

    def forward(self, idx):
        t = idx.shape[1]
        x = self.emb(idx) + self.pos(torch.arange(t))
        mask = torch.triu(torch.ones(t, t, dtype=torch.bool), diagonal=1)
        for block in self.blocks:
            h = block["norm1"](x)
            x = x + block["att"](h, h, h, attn_mask=mask, need_weights=False)[0]
            x = x + block["ff"](block["norm2"](x))
        return self.head(self.norm(x))


ids = [(i * i + 3 * i) % 97 for i in range(400)]
torch.manual_seed(123)
loader = DataLoader(Windows(ids, 16, 8), batch_size=6, shuffle=True, drop_last=True)
model = Model(97, 32, 2)
optimizer = torch.optim.AdamW(
    [
        {"params": [p for p in model.parameters() if p.dim() >= 2], "weight_decay": 0.1},
        {"params": [p for p in model.parameters() if p.dim() < 2], "weight_decay": 0.0},
    ],
    lr=3e-3,
    betas=(0.9, 0.95),
)
warmup, total = 5, 24


def rate(step):
    if step < warmup:
        return (step + 1) / warmup
    return 0.1 + 0.45 * (1 + math.cos(math.pi * (step - warmup) / (total - warmup)))


scheduler = LambdaLR(optimizer, rate)
step = 0
model.train()
while step < total:
    for inputs, targets in loader:
        if step == total:
            break
        optimizer.zero_grad()
        logits = model(inputs)
        loss = nn.functional.cross_entropy(logits.flatten(0, 1), targets.flatten())
        loss.backward()
        norm = torch.nn.utils.clip_grad_norm_(model.parameters(), max_norm=1.0)
        optimizer.step()
        scheduler.step()
        exact(f"inputs {step}", inputs)
        record(f"loss {step}", loss)
        record(f"norm {step}", norm)
        print(f"{step} lr {scheduler.get_last_lr()[0]:.6f}")
        step += 1
model.eval()
with torch.no_grad():
    record("logits", model(torch.tensor([ids[:16]])))
cosine = CosineAnnealingLR(torch.optim.SGD(model.parameters(), lr=0.1), T_max=10)
print([round(cosine.get_last_lr()[0], 6)])
