# ---
# jupyter:
#   jupytext:
#     text_representation: {extension: .py, format_name: percent}
# ---

# %% [markdown]
# # Solutions: distillation
#
# ## 1. Many hard answers are a soft one
# The gradient of −log Q(a) is Q − onehot(a). Its mean over answers drawn from P is Q − P, the gradient of forward KL.

# %%
import tinygrad_llm as torch

torch.manual_seed(0)
teacher, student = torch.randn(5), torch.randn(5, requires_grad=True)
P = torch.softmax(teacher, dim=0)
drawn = torch.multinomial(P, 50000, replacement=True)
loss = -torch.log_softmax(student, dim=0)[drawn].mean()
loss.backward()
soft = (torch.softmax(student, dim=0) - P).detach()
print("hard", [round(v, 3) for v in student.grad.tolist()], "soft", [round(v, 3) for v in soft.tolist()])
assert (student.grad - soft).abs().max() < 0.01

# %% [markdown]
# ## 2. Reverse KL
# KL(Q, P) = Σ Q·(log Q − log P). With ∂Qᵢ/∂zⱼ = Qᵢ([i = j] − Qⱼ) the terms Σ Qᵢ·∂ log Qᵢ vanish, and what is left is
# Qⱼ·(log Qⱼ − log Pⱼ − KL).

# %%
z = student.detach().clone().requires_grad_()
log_q, log_p = torch.log_softmax(z, dim=0), torch.log_softmax(teacher, dim=0)
kl = (torch.exp(log_q) * (log_q - log_p)).sum()
kl.backward()
expected = (torch.exp(log_q) * (log_q - log_p - kl)).detach()
assert torch.allclose(z.grad, expected, atol=1e-6)
