# ---
# jupyter:
#   jupytext:
#     text_representation: {extension: .py, format_name: percent}
# ---

# %% [markdown]
# # Solutions: AdamW
#
# ## 1. One gradient
# m falls by β₁ = 0.9 per step, √v by √β₂ = 0.9995: the numerator forgets much sooner than the denominator.
# After the one gradient, at step t₀, the weight moves on for some dozens of steps. If the gradient comes at
# step 1, the corrections make the first step lr. If it comes late, √v̂ is small and the first step is larger:
# 2.5·lr at step 1,001, and (1 − β₁)/√(1 − β₂) = 3.2·lr after very many zeros.

# %%
import tinygrad_llm as torch


def moves(first_zeros, steps=200, lr=0.1):
    """How far one weight moves per step when only one gradient is not zero."""
    w = torch.tensor([0.0], dtype=torch.float64, requires_grad=True)
    optimizer = torch.optim.AdamW([w], lr=lr, weight_decay=0.0)
    result = []
    for t in range(first_zeros + steps):
        before = w.item()
        w.grad = torch.tensor([1.0 if t == first_zeros else 0.0], dtype=torch.float64)
        optimizer.step()
        result.append((before - w.item()) / lr)
    return result[first_zeros:]


for zeros in (0, 1000):
    m = moves(zeros)
    half = next(i for i, v in enumerate(m) if sum(m[: i + 1]) > sum(m) / 2)
    print(f"after {zeros:4} zeros: first step {m[0]:.2f}·lr, all together {sum(m):.1f}·lr, half of it in {half + 1} steps")
early, late = moves(0), moves(1000)
assert abs(early[0] - 1) < 1e-6 and 2.5 < late[0] < 3.2
assert sum(early) > 4 and sum(late) > 20  # a single gradient moves the weight many times lr
assert late[60] < 0.01 < late[50]  # 0.9⁶⁰ is 0.002: then it is over

# %% [markdown]
# ## 2. Gradients a thousand times larger
# SGD moves a thousand times further. Adam divides by the size of the gradients, so nothing changes, except for
# ε. So with Adam the difference between a sum and a mean over the batch hardly matters for the step itself. It
# does matter for clipping, whose limit has a unit, and for SGD.

# %%
def end(optimizer_class, factor, **options):
    w = torch.tensor([1.0, -2.0], dtype=torch.float64, requires_grad=True)
    optimizer = optimizer_class([w], **options)
    for t in range(5):
        w.grad = torch.tensor([0.3, -0.1], dtype=torch.float64) * factor * (t + 1)
        optimizer.step()
    return w.detach()


adam = [end(torch.optim.AdamW, factor, lr=0.1) for factor in (1.0, 1000.0)]
sgd = [end(torch.optim.SGD, factor, lr=0.1) for factor in (1.0, 1000.0)]
print("Adam:", adam[0].tolist(), adam[1].tolist(), "\nSGD: ", sgd[0].tolist(), sgd[1].tolist())
assert (adam[0] - adam[1]).abs().max().item() < 1e-6 and (sgd[0] - sgd[1]).abs().max().item() > 100
