"""Names that readers' programs sometimes use."""

import warnings

import torch
import torch.nn as nn
from torch.nn.utils.rnn import pad_sequence, unpad_sequence

warnings.simplefilter("ignore")
torch.manual_seed(5)

# ------------------------------------------------------------------- sequences of any length
rows = [torch.randn(n, 2, requires_grad=True) for n in (3, 1, 4)]
for options in ({}, {"batch_first": True}, {"padding_value": -1.0, "padding_side": "left"}):
    padded = pad_sequence(rows, **options)
    record("padded", padded)  # noqa: F821
    (padded * torch.arange(1.0, 1 + padded.numel()).view(padded.shape)).sum().backward()
    for row in rows:
        record("gradient", row.grad)  # noqa: F821
back = unpad_sequence(pad_sequence(rows), torch.tensor([3, 1, 4]))
same = [torch.equal(a, b) for a, b in zip(rows, back, strict=True)]
print([tuple(row.shape) for row in back], same)
for wrong in ([], [torch.ones(2), torch.ones(3, 1)]):
    try:
        pad_sequence(wrong)
    except RuntimeError as error:
        print(type(error).__name__)

# ------------------------------------------------------------------------------- scaled losses
for device, enabled in (("cuda", False), ("cpu", True)):
    torch.manual_seed(6)
    model = nn.Linear(3, 1)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    scaler = torch.amp.GradScaler(device, init_scale=8.0, growth_interval=2, enabled=enabled)
    for step in range(6):
        x = torch.randn(4, 3)
        loss = model(x).pow(2).mean() * (float("inf") if step == 3 else 1.0)
        optimizer.zero_grad()
        scaler.scale(loss).backward()
        if step % 2:
            scaler.unscale_(optimizer)
            torch.nn.utils.clip_grad_norm_(model.parameters(), 0.1)
        if step != 3 or enabled:
            scaler.step(optimizer)
        scaler.update()
        record("weight", model.weight)  # noqa: F821
        print(step, scaler.get_scale(), scaler.is_enabled())
    print(scaler.state_dict())
    other = torch.amp.GradScaler(device, enabled=enabled)
    other.load_state_dict(scaler.state_dict())
    print(other.get_scale(), other.is_enabled())
scaler = torch.amp.GradScaler("cpu")
print(scaler.scale((torch.tensor(1.0), torch.tensor(2.0))))
scaler.unscale_(optimizer)
for wrong in (lambda: scaler.unscale_(optimizer), lambda: [scaler.update(), scaler.update()]):
    try:
        wrong()
    except (RuntimeError, AssertionError) as error:
        print(error)
