# ---
# jupyter:
#   jupytext:
#     text_representation: {extension: .py, format_name: percent}
# ---

# %% [markdown]
# # Solutions: let the machine compute the gradient
#
# ## 1. Which h is best in float32?
# A large h is wrong because the loss is curved (an error of the size h²). A small h is wrong because both
# losses are rounded to seven digits and then subtracted: what remains is noise, and it is divided by 2h.
# In between, near h = 1e-2, both errors are small.

# %%
import tinygrad_llm as torch
import tinygrad_llm.nn.functional as F

x, y = torch.tensor([1.1]), torch.tensor([1.0])


def loss_at(w, b):
    return F.binary_cross_entropy(torch.sigmoid(w * x + b), y)


w, b = torch.tensor([0.8], requires_grad=True), torch.tensor([-1.5], requires_grad=True)
loss_at(w, b).backward()
errors = {}
with torch.no_grad():
    for k in range(1, 8):
        h = 10.0**-k
        difference = (loss_at(w + h, b) - loss_at(w - h, b)).item() / (2 * h)
        errors[k] = abs(difference - w.grad.item())
best = min(errors, key=errors.get)
print("errors at h = 1e-2 below 1e-4:", errors[2] < 1e-4, "  at h = 1e-7 above 1e-2:", errors[7] > 1e-2)
assert best in (2, 3) and errors[1] > errors[2] and errors[7] > 100 * errors[best]

# %% [markdown]
# ## 2. autograd.grad
# It returns the gradients and leaves `.grad` alone: nothing is added up, and nothing has to be emptied.

# %%
w, b = torch.tensor([0.8], requires_grad=True), torch.tensor([-1.5], requires_grad=True)
w_gradient, b_gradient = torch.autograd.grad(loss_at(w, b), [w, b])
print("gradients", w_gradient, b_gradient, "  .grad is", w.grad)
assert w.grad is None and b.grad is None
assert abs(w_gradient.item() - 1.1 * b_gradient.item()) < 1e-6  # ∂L/∂w = x·∂L/∂b

# %% [markdown]
# ## 3. Squared error when the model is sure and wrong
# With w = −8 the model gives p near 0, and y is 1. The gradient of cross-entropy is (p − y)·x, about −x:
# full strength. That of the squared error is 2·(p − y)·p·(1 − p)·x, and p·(1 − p) is nearly 0: w hardly
# moves, just where the model is most wrong.

# %%
gradients = {}
for name, loss_function in (("cross-entropy", F.binary_cross_entropy), ("squared error", F.mse_loss)):
    w = torch.tensor([-8.0], requires_grad=True)
    loss_function(torch.sigmoid(w * x - 1.5), y).backward()
    gradients[name] = w.grad.item()
    print(f"{name}: ∂L/∂w = {w.grad.item():.5f}")
assert abs(gradients["cross-entropy"] + 1.1) < 1e-3 and abs(gradients["squared error"]) < 1e-3
