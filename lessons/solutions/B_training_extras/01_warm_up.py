# ---
# jupyter:
#   jupytext:
#     text_representation: {extension: .py, format_name: percent}
# ---

# %% [markdown]
# # Solutions: warm-up
#
# ## 1. From zero itself
# The first step does nothing at all: a batch is computed and thrown away. But it fills AdamW's memory, so it
# is not quite lost.

# %%
import tinygrad_llm as torch

w = torch.tensor([1.0], requires_grad=True)
optimizer = torch.optim.AdamW([w], lr=0.0, weight_decay=0.0)
w.grad = torch.tensor([3.0])
optimizer.step()
print("after a step with lr 0:", w.item(), " remembered gradient:", optimizer.state[w]["exp_avg"].item())
assert w.item() == 1.0 and optimizer.state[w]["exp_avg"].item() > 0

# %% [markdown]
# ## 2. Two memories
# The short memory measures the size of the last twenty gradients only. If one is unusually large, it is
# divided by a mean that contains it, so the step stays small. With the long memory a gradient ten times the
# usual size makes a step several times the usual size.

# %%
def step_after_a_jump(beta2):
    torch.manual_seed(123)
    w = torch.zeros(200, requires_grad=True)
    optimizer = torch.optim.AdamW([w], lr=1.0, betas=(0.0, beta2), weight_decay=0.0)
    for size in [1.0] * 200 + [10.0]:
        before = w.detach().clone()
        w.grad = torch.sign(torch.randn(200)) * size
        optimizer.step()
    return (w.detach() - before).abs().mean().item()


for beta2 in (0.999, 0.95):
    print(f"β₂ = {beta2}: a gradient ten times as large makes a step of {step_after_a_jump(beta2):.2f}·lr")
assert step_after_a_jump(0.999) > 1.5 * step_after_a_jump(0.95)

# %% [markdown]
# ## 3. Plain SGD
# No: it has no memory, its step is lr·g at step 1 and at step 1,000. It may need a warm-up for another reason:
# gradients are largest at the start, when the model is far from every minimum.

# %%
w = torch.tensor([1.0, 1.0], requires_grad=True)
optimizer = torch.optim.SGD([w], lr=0.1)
w.grad = torch.tensor([5.0, 0.005])
optimizer.step()
print("SGD moves by", [round(1 - x, 4) for x in w.tolist()], ": in proportion to the gradients")
assert abs((1 - w[0].item()) / (1 - w[1].item()) - 1000) < 1
