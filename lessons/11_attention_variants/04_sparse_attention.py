# ---
# jupyter:
#   jupytext:
#     text_representation: {extension: .py, format_name: percent}
# ---

# %% [markdown]
# # 4. Sparse attention: who chooses the keys?
#
# **Question.** A window chooses keys by their place. Can a model choose by what they say, and read only k keys of
# a text of any length?
#
# **For example.** Of 10,000 keys a query reads the 64 best by a cheap score. The expensive attention is then
# 156 times less work.
#
# **Predict first.** "Take the k largest" has no gradient. How can what chooses learn at all?
#
#     I_ts = Σⱼ w_tj·relu(q_tj·k_s)           the lightning indexer: few small heads, one key per token
#     S_t  = the k keys s <= t with the largest I_ts
#     y_t  = attention of query t to the keys in S_t alone
#     L_I  = KL(p_t ‖ softmax(I_t))           p_t: attention's own weights, summed over heads
#
# DeepSeek V3.2: 2,048 keys per query, for any text. The indexer looks at all keys, but costs little.
#
# **You need.** Lesson 3.

# %%
import math

import matplotlib.pyplot as plt

import tinygrad_llm as torch
import tinygrad_llm.nn.functional as F
from tinygrad_llm.study.lesson import save_plot

# %% [markdown]
# ## By hand: choose, then attend

# %%
torch.manual_seed(123)
T, D, k = 24, 8, 4
q, keys, v = (torch.randn(T, D).double().requires_grad_() for _ in range(3))
causal = torch.tril(torch.ones(T, T)).bool()


def chosen(index, k):
    """The k largest of each row up to the diagonal: bool (T, T)."""
    best = index.masked_fill(~causal, -math.inf).topk(min(k, T), dim=-1)[1]
    return (torch.zeros(T, T).scatter(-1, best, 1.0) > 0) & causal


def attend(mask):
    scores = (q @ keys.T / math.sqrt(D)).masked_fill(~mask, -math.inf)
    p = torch.softmax(scores, dim=-1)
    return p @ v, p  # (T, D), (T, T)


index = torch.randn(T, T).double().requires_grad_()
mask = chosen(index, k)
print("keys per query:", mask.sum(dim=1).tolist()[:6], "...")
assert mask.sum(dim=1).tolist() == [min(t + 1, k) for t in range(T)]
y, _ = attend(mask)
y[-1].sum().backward()
read = [s for s in range(T) if v.grad[s].abs().sum().item() > 0]
print("the last query's gradient reaches", len(read), "values; the indexer's gradient is", index.grad)
assert read == [s for s in range(T) if mask[-1, s].item()] and index.grad is None

# %% [markdown]
# ## How the indexer learns
# Attention's weights say which keys mattered. The indexer is trained to have the same opinion, by the KL
# divergence; its gradient is softmax(I) − p, as in every cross-entropy. No gradient goes to attention from it.

# %%
with torch.no_grad():
    everything, p = attend(causal)
x = torch.cat([q, keys], dim=1).detach().float()  # (T, 2·D): what the indexer sees
torch.manual_seed(7)
heads, small = 4, 6
w_q, w_k = torch.randn(heads, 2 * D, small) * 0.3, torch.randn(2 * D, small) * 0.3
w_w = torch.randn(2 * D, heads) * 0.3
parameters = [w.requires_grad_() for w in (w_q, w_k, w_w)]


def indexer():
    """I (T, T) for all pairs."""
    agreement = torch.relu(x @ w_q @ (x @ w_k).T)  # (heads, T, small) @ (small, T) -> (heads, T, T)
    weights = (x @ w_w).T.unsqueeze(-1)  # (heads, T, 1)
    return (weights * agreement).sum(dim=0) / math.sqrt(heads * small)


def kl(index):
    log_q = F.log_softmax(index.masked_fill(~causal, -math.inf), dim=-1).masked_fill(~causal, 0.0)
    return (p.float() * (p.float().masked_fill(~causal, 1.0).log() - log_q)).sum() / T


leaf = indexer().detach().requires_grad_()
kl(leaf).backward()
by_hand = (torch.softmax(leaf.detach().masked_fill(~causal, -math.inf), dim=-1) - p.float()) / T
assert torch.allclose(leaf.grad, by_hand, atol=1e-6)
print("∂L/∂I = (softmax(I) − p)/T:", True)


def held(mask):
    """How much of attention's weight is on the chosen keys, the mean over queries."""
    return (p * mask).sum().item() / T


optimizer = torch.optim.AdamW(parameters, lr=0.02)
curve, share = [], [held(chosen(indexer().detach(), k))]
for step in range(300):
    loss = kl(indexer())
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
    curve.append(loss.item())
    share.append(held(chosen(indexer().detach(), k)))
best = held(chosen(p, k))
near = held(causal & (torch.arange(T).unsqueeze(1) - torch.arange(T) < k))
print("the loss falls to less than a half:", curve[-1] < 0.5 * curve[0])
print("its choice holds more weight than before, and more than a window:", share[-1] > share[0], share[-1] > near)
assert curve[-1] < 0.5 * curve[0] and near < share[-1] <= best + 1e-9

# %% [markdown]
# ## With the package
# `LatentAttention` takes an `Indexer`. Within `collected_index_losses` each such layer appends its loss.

# %% tags=["package"]
from tinygrad_llm.layers.indexer import Indexer, collected_index_losses
from tinygrad_llm.layers.latent_attention import LatentAttention
from tinygrad_llm.layers.rotary import Rotary

layer = LatentAttention(32, 4, kv_rank=12, rotary=Rotary(4), indexer=Indexer(32, 2, 8, top_k=6))
text = torch.randn(2, 30, 32)
with collected_index_losses() as losses:
    y = layer(text)
(y.pow(2).mean() + losses[0]).backward()
print("output", tuple(y.shape), " loss of the indexer", round(losses[0].item(), 3))
assert len(losses) == 1 and all(p.grad is not None for p in layer.parameters())
cache = layer.new_cache(30)
with torch.no_grad():
    pieces = [layer(text[:, t : t + 1], cache=cache) for t in range(30)]
    assert torch.allclose(torch.cat(pieces, dim=1), layer(text), atol=1e-5)
for context in (1024, 32768, 131072):
    sparse = LatentAttention(1024, 128, kv_rank=64, head_dim=128, indexer=Indexer(1024, 64, 128, top_k=2048))
    full = LatentAttention(1024, 128, kv_rank=64, head_dim=128)
    ratio = sparse.flops_per_token(context) / full.flops_per_token(context)
    print(f"context {context:6}: {ratio:.2f} of the work between tokens")
assert ratio < 0.3

figure, axes = plt.subplots(1, 3, figsize=(13, 3.8))
axes[0].imshow(p.numpy(), cmap="Blues"), axes[0].set_title("attention's weights")
axes[1].imshow(chosen(indexer().detach(), k).float().numpy(), cmap="Blues"), axes[1].set_title("the keys that are chosen")
axes[2].plot(share, label="indexer"), axes[2].axhline(best, ls=":", color="black", label="the best choice")
axes[2].axhline(near, ls="--", color="gray", label="a window"), axes[2].legend()
axes[2].set_xlabel("step"), axes[2].set_ylabel("weight on the chosen keys")
save_plot(figure, "04_sparse_attention")

# %% [markdown]
# ## Two layers, one choice: sharing
# Neighbouring layers can share what they keep: layer B computes queries only and reads the keys and values of
# layer A. The cache halves. In the backward pass A's keys get two gradients, one from each reader; they add up.

# %%
torch.manual_seed(9)
x, w_k = torch.randn(6, 4).double(), torch.randn(4, 4).double().requires_grad_()
q_a, q_b, g = (torch.randn(6, 4).double() for _ in range(3))


def reads(q, keys):
    scores = (q @ keys.T).masked_fill(torch.triu(torch.ones(6, 6), diagonal=1).bool(), -math.inf)
    return torch.softmax(scores, dim=-1) @ keys


def gradient(f):
    return torch.autograd.grad(f(x @ w_k.T), [w_k], g)[0]


both = gradient(lambda keys: reads(q_a, keys) + reads(q_b, keys))
apart = gradient(lambda keys: reads(q_a, keys)) + gradient(lambda keys: reads(q_b, keys))
print("shared keys: the gradients of both readers add up", tuple(both.shape), torch.allclose(both, apart, atol=1e-10))
assert torch.allclose(both, apart, atol=1e-10)

# %% [markdown]
# ## Exercises
# 1. Why relu? Give two heads the scores (3, −3) and (0, 0) for two keys, all weights 1, with relu and without.
# 2. Queries that are far apart choose the same keys. Let every *pair* of neighbouring queries share one choice:
#    how much weight does the choice then hold?
# 3. The indexer costs 2·H·D per key, for all S keys; attention 4·C per chosen key. From which S on does the
#    indexer cost more than attention, with 64 heads of 128, C = 16,384 and k = 2,048?
#
# Solutions: `lessons/solutions/11_attention_variants/04_sparse_attention.py`
