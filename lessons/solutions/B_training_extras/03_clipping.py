# ---
# jupyter:
#   jupytext:
#     text_representation: {extension: .py, format_name: percent}
# ---

# %% [markdown]
# # Solutions: clipping gradients

# %%
import tinygrad_llm as torch
from tinygrad_llm import nn

clip_grad_norm_ = nn.utils.clip_grad_norm_

# %% [markdown]
# ## 1. Once, at the end
# The gradient of the step is the sum of the parts. If the parts are clipped one by one, the sum is different:
# a part with a large gradient is shortened, a small one stays.

# %%
parts = [torch.tensor([10.0, 0.0]), torch.tensor([0.0, 0.5])]
p = nn.Parameter(torch.zeros(2))
p.grad = parts[0] + parts[1]
clip_grad_norm_([p], 1.0)
once = p.grad.clone()
total = torch.zeros(2)
for part in parts:
    p.grad = part.clone()
    clip_grad_norm_([p], 1.0)
    total = total + p.grad
print("once at the end:", [round(x, 3) for x in once.tolist()], "  each part:", [round(x, 3) for x in total.tolist()])
assert once[1].item() < 0.06 and total[1].item() > 0.49

# %% [markdown]
# ## 2. AdamW and one long gradient
# *All* gradients twice as long: the same steps. *One* gradient a thousand times as long: its square fills the
# memory v, which forgets slowly (β₂ = 0.999), and the steps after it are tiny for a long time.

# %%
def moved_after_a_shock(c):
    """How far AdamW moves in 50 steps that begin 10 steps after one gradient 1,000 times too long."""
    w = nn.Parameter(torch.zeros(1))
    optimizer = torch.optim.AdamW([w], lr=0.01, weight_decay=0.0)
    for step in range(120):
        w.grad = torch.tensor([1000.0 if step == 60 else 1.0])
        if c is not None:
            clip_grad_norm_([w], c)
        optimizer.step()
        if step == 69:
            start = w.item()
    return start - w.item()


free, clipped = moved_after_a_shock(None), moved_after_a_shock(1.0)
print(f"the 50 steps that begin 10 steps after the shock: {free:.3f} not clipped, {clipped:.3f} clipped")
assert clipped > 0.49 and free < 0.6 * clipped

# %% [markdown]
# ## 3. One NaN
# The length is NaN, the factor c/NaN is NaN, and so is every gradient after clipping. PyTorch's
# `error_if_nonfinite=True` raises an error instead. Log the length in any case.

# %%
p, q = nn.Parameter(torch.zeros(1)), nn.Parameter(torch.zeros(1))
p.grad, q.grad = torch.tensor([float("nan")]), torch.tensor([2.0])
clip_grad_norm_([p, q], 1.0)
print("the good gradient is now", q.grad.item())
assert torch.isnan(q.grad).all()
p.grad, q.grad = torch.tensor([float("nan")]), torch.tensor([2.0])
try:
    clip_grad_norm_([p, q], 1.0, error_if_nonfinite=True)
except RuntimeError:
    print("error_if_nonfinite=True: refused, and nothing is changed:", q.grad.item())
else:
    raise AssertionError("a NaN must be refused")
assert q.grad.item() == 2.0
