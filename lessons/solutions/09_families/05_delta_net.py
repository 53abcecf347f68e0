# ---
# jupyter:
#   jupytext:
#     text_representation: {extension: .py, format_name: percent}
# ---

# %% [markdown]
# # Solutions: gated DeltaNet
#
# ## 1. Half of what is missing
# Each time half of the rest is written: 1 − 0.5^n is read.

# %%
import tinygrad_llm as torch
import tinygrad_llm.nn.functional as F


def recurrent(q, k, v, a, beta, S):
    y = []
    for t in range(len(k)):
        S = a[t] * S
        delta = beta[t] * (v[t] - k[t] @ S)  # (D)
        S = S + k[t].unsqueeze(1) * delta  # (K, D)
        y.append(q[t] @ S)  # (D)
    return torch.stack(y), S  # (T, D), (K, D)


torch.manual_seed(1)
k = F.normalize(torch.randn(4), dim=0).expand(10, 4)
y, _ = recurrent(k, k, torch.ones(10, 1), torch.ones(10), torch.full((10,), 0.5), torch.zeros(4, 1))
print("read after each writing:", [round(x, 3) for x in y.flatten().tolist()])
assert torch.allclose(y.flatten(), 1 - 0.5 ** torch.arange(1, 11).float(), atol=1e-5)

# %% [markdown]
# ## 2. A chunk that starts with a memory
# What the old memory predicts is taken from V, and what it returns is added to Y; both have faded by exp(b_t).

# %%
def chunked(q, k, v, a, beta, S):
    b = a.log().cumsum(0)  # (T)
    left = (b.unsqueeze(1) - b).exp().tril()  # (T, T)
    old = b.exp().unsqueeze(1)  # (T, 1)
    A = (beta.unsqueeze(1) * (k @ k.T) * left).tril(-1)
    missing = beta.unsqueeze(1) * (v - old * (k @ S))  # the first new term
    delta = torch.linalg.solve(torch.eye(len(k)).double() + A, missing)  # (T, D)
    return old * (q @ S) + ((q @ k.T) * left) @ delta  # the second


T, K, D = 20, 6, 4
q, v = torch.randn(T, K).double(), torch.randn(T, D).double()
k = F.normalize(torch.randn(T, K).double(), dim=1)
a, beta = torch.sigmoid(torch.randn(T).double() + 2), torch.sigmoid(torch.randn(T).double())
whole, _ = recurrent(q, k, v, a, beta, torch.zeros(K, D).double())
_, S = recurrent(*(x[:10] for x in (q, k, v, a, beta)), torch.zeros(K, D).double())
second = chunked(*(x[10:] for x in (q, k, v, a, beta)), S)
print("the second chunk equals the loop:", torch.allclose(second, whole[10:], atol=1e-10))
assert torch.allclose(second, whole[10:], atol=1e-10)

# %% [markdown]
# ## 3. Keys of length 2
# The error after a step is (1 − β·|k|²) times the one before: 0 for |k| = 1, but −3 for |k| = 2. It grows without
# end, as gradient descent does with too large a learning rate.

# %%
k = torch.tensor([[2.0, 0.0]]).expand(5, 2)
y, _ = recurrent(k, k, torch.ones(5, 1), torch.ones(5), torch.ones(5), torch.zeros(2, 1))
print("read:", y.flatten().tolist())
assert torch.allclose(y.flatten() - 1, -((-3.0) ** torch.arange(1, 6).float()))
