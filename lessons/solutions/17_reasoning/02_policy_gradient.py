# ---
# jupyter:
#   jupytext:
#     text_representation: {extension: .py, format_name: percent}
# ---

# %% [markdown]
# # Solutions: the policy gradient
#
# ## 1. Why the minimum
# clip(1.5) is the constant 1.2: no gradient. The minimum of −1.5 and −1.2 is −1.5, which has one.

# %%
import tinygrad_llm as torch

rho = torch.tensor([1.5], requires_grad=True)
(rho.clamp(0.8, 1.2) * -1.0).sum().backward()
assert rho.grad.item() == 0.0
rho.grad = None
torch.minimum(rho * -1.0, rho.clamp(0.8, 1.2) * -1.0).sum().backward()
assert rho.grad.item() == -1.0

# %% [markdown]
# ## 2. Averages over answers and over tokens
# Over answers a token of the short answer weighs 1/(2·2), one of the long answer 1/(2·10): the longer a wrong answer, the
# less each of its tokens is punished, so a model can lower its loss by writing longer wrong answers. Over all tokens both
# weigh 1/12. That is why DAPO averages over tokens.

# %%
log_p = torch.zeros(2, 10, requires_grad=True)
mask = torch.arange(10) < torch.tensor([2, 10]).unsqueeze(1)
kept = torch.where(mask, log_p, 0.0)
(kept.sum(1) / mask.sum(1)).mean().backward()
assert abs(log_p.grad[0, 0].item() - 1 / 4) < 1e-6 and abs(log_p.grad[1, 0].item() - 1 / 20) < 1e-6
log_p.grad = None
(torch.where(mask, log_p, 0.0).sum() / mask.sum()).backward()
assert abs(log_p.grad[0, 0].item() - 1 / 12) < 1e-6 and abs(log_p.grad[1, 0].item() - 1 / 12) < 1e-6
