# ---
# jupyter:
#   jupytext:
#     text_representation: {extension: .py, format_name: percent}
# ---

# %% [markdown]
# # 3. Qwen3: normalised queries, and a mixture of experts
#
# **Question.** Qwen3 30B-A3B has 30.5 billion parameters, and computes with 3.3 billion of them for each token.
# Who decides which, and how does a *decision* get a gradient?
#
# **For example.** Four experts with the probabilities 0.5, 0.3, 0.1, 0.1. The best two are used, with 0.5/0.8
# and 0.3/0.8. The other two are not even computed.
#
# **Predict first.** A router chooses 2 of 8 experts for each token. An expert that nobody chose: what is its
# gradient? And the router's weights for this expert?
#
# Two parts are new against Llama. In attention every query and key of D channels goes through an RMSNorm
# (*qk-norm*), so that scores cannot grow without limit. And in place of one feed forward there are E of them:
#
#     p = softmax(W_r·x)                 (E) probabilities, the router's
#     y = Σ over the k largest p:  p_e/(their sum) · expert_e(x)
#
# **You need.** Lesson 1, chapter 04, lesson 2.

# %%
import matplotlib.pyplot as plt

import tinygrad_llm as torch
import tinygrad_llm.nn.functional as F
from tinygrad_llm import nn
from tinygrad_llm.study.lesson import save_plot

# %% [markdown]
# ## By hand: qk-norm
# Queries that are 100 times larger make one weight of the softmax 1 and the others 0: nothing is learned
# any more. With the norm the size of a query does not matter, only its direction.

# %%
torch.manual_seed(123)
D = 16
q, k = torch.randn(1, 1, 6, D), torch.randn(1, 1, 6, D)


def largest_weights(q, k, normed):
    if normed:
        q, k = F.rms_norm(q, (D,)), F.rms_norm(k, (D,))
    return (q @ k.transpose(-2, -1) / D**0.5).softmax(-1).max(-1).values.mean().item()


for scale in (1, 100):
    print(f"queries times {scale:3}: largest weight {largest_weights(scale * q, k, False):.3f} without, "
          f"{largest_weights(scale * q, k, True):.3f} with qk-norm")
assert largest_weights(100 * q, k, False) > 0.99
assert abs(largest_weights(100 * q, k, True) - largest_weights(q, k, True)) < 1e-3

# %% [markdown]
# ## By hand: a router and eight experts
# The plain form first: a loop over the experts, each computing the tokens that chose it.

# %%
C, hidden, E, chosen_n = 16, 24, 8, 2  # channels, channels in an expert, experts, experts per token


class Expert(nn.Module):
    def __init__(self):
        super().__init__()
        self.gate_up = nn.Linear(C, 2 * hidden, bias=False)
        self.down = nn.Linear(hidden, C, bias=False)

    def forward(self, x):
        gate, up = self.gate_up(x).chunk(2, dim=-1)  # (N, C) -> (N, hidden) twice
        return self.down(F.silu(gate) * up)


class Experts(nn.Module):
    def __init__(self):
        super().__init__()
        self.router = nn.Linear(C, E, bias=False)
        self.experts = nn.ModuleList([Expert() for _ in range(E)])

    def forward(self, x):
        self.p = F.softmax(self.router(x), dim=-1)  # (N, C) -> (N, E)
        weights, self.chosen = self.p.topk(chosen_n, dim=-1)  # (N, k) each
        weights = weights / weights.sum(-1, keepdim=True)
        y = torch.zeros_like(x)
        for e in range(E):
            tokens, place = torch.where(self.chosen == e)  # which tokens, and as which of their choices
            if len(tokens):
                y = y.index_add(0, tokens, weights[tokens, place].unsqueeze(1) * self.experts[e](x[tokens]))
        return y


torch.manual_seed(1)
moe = Experts()
x = torch.randn(5, C, requires_grad=True)  # 5 tokens: 10 choices for 8 experts
g = torch.randn(5, C)
(moe(x) * g).sum().backward()
shape = tuple(moe.chosen.shape)
print("chosen", shape, moe.chosen.tolist())
counts = torch.bincount(moe.chosen.flatten(), minlength=E).tolist()
idle = [e for e in range(E) if counts[e] == 0]
for e in range(E):
    p = moe.experts[e].down.weight.grad
    print(f"expert {e}: {counts[e]} tokens, |gradient| {0.0 if p is None else p.norm().item():6.3f}, "
          f"of its row of the router {moe.router.weight.grad[e].norm().item():.3f}")
assert idle and all(moe.experts[e].down.weight.grad is None for e in idle)
assert all(moe.experts[e].down.weight.grad.norm().item() > 0 for e in range(E) if counts[e])

# %% [markdown]
# The choice itself has no gradient: `topk` returns numbers of experts, and they are constants. What
# has a gradient is the *weight* p_e of each chosen expert: the router learns "more of this one" or "less".
# The weights of the chosen are divided by their sum, so an expert that was not chosen drops out completely,
# and its row of the router gets the gradient 0 too. It cannot learn to be chosen!

# %%
assert all(moe.router.weight.grad[e].norm().item() < 1e-7 for e in idle)
print("experts without tokens:", idle, "with gradients of 0 in the router")

# %% [markdown]
# ## Load balancing
# So the rich get richer: an expert with tokens learns, and gets more tokens. The cure is a second loss. f_e is
# the share of tokens that chose e (a constant), P_e the mean probability of e (has a gradient):
#
#     loss = E·Σ f_e·P_e        k if all are equal, more if not
#
# Its gradient pushes down the probability of every expert in proportion to how many tokens it has.

# %%
def balance(p, chosen):
    f = torch.bincount(chosen.flatten(), minlength=E).float() / len(chosen)  # (E)
    return E * (f * p.mean(0)).sum()


def train(weight, steps=120):
    """Returns the last loss, and how many tokens each expert had in the last batch: (E)."""
    torch.manual_seed(2)
    moe = Experts()
    optimizer = torch.optim.AdamW(moe.parameters(), lr=1e-2, weight_decay=0.0)
    target = torch.randn(C, C)
    for _ in range(steps):
        x = torch.randn(64, C) + 1.5
        loss = F.mse_loss(moe(x), torch.tanh(x @ target))
        optimizer.zero_grad()
        (loss + weight * balance(moe.p, moe.chosen)).backward()
        optimizer.step()
    return loss.item(), torch.bincount(moe.chosen.flatten(), minlength=E)


results = {}
for weight in (0.0, 0.1):
    loss, results[weight] = train(weight)
    print(f"balance x {weight}: loss {loss:.2f}, tokens per expert {sorted(results[weight].tolist(), reverse=True)}")
assert results[0.1].max().item() < results[0.0].max().item()
assert results[0.1].min().item() > 0

even, skewed = torch.full((4, E), 1 / E), torch.tensor([[0.9] + [0.1 / (E - 1)] * (E - 1)]).expand(4, E)
each_once = torch.arange(E).view(4, 2)
always_first = torch.tensor([[0, 1]]).expand(4, 2)
print(f"loss of equal shares {balance(even, each_once).item():.2f}, "
      f"of one favourite {balance(skewed, always_first).item():.2f}")
assert abs(balance(even, each_once).item() - 2) < 1e-5 and balance(skewed, always_first).item() > 7

# %%
figure, axis = plt.subplots(figsize=(7, 4))
for i, (weight, tokens) in enumerate(results.items()):
    axis.bar([e + 0.4 * i for e in range(E)], sorted(tokens.tolist(), reverse=True), 0.4, label=f"balance × {weight}")
axis.axhline(64 * 2 / E, color="black", ls=":", label="equal shares")
axis.set_xlabel("expert, the busiest first"), axis.set_ylabel("tokens of the last batch"), axis.legend()
save_plot(figure, "03_qwen3_experts")

# %% [markdown]
# ## With the package
# `MixtureOfExperts` sorts the tokens by expert, so that each expert that somebody chose computes one product.
# Its experts lie in two arrays, and its results and gradients are those of the loop.

# %% tags=["package"]
from tinygrad_llm.layers.moe import MixtureOfExperts, collected_router_logits, load_balancing_loss

layer = MixtureOfExperts(C, hidden, E, chosen_n)
with torch.no_grad():
    layer.router.weight.copy_(moe.router.weight)
    layer.experts.gate_up.copy_(torch.stack([e.gate_up.weight for e in moe.experts]))  # (E, 2·hidden, C)
    layer.experts.down.copy_(torch.stack([e.down.weight for e in moe.experts]))  # (E, C, hidden)
x2 = x.detach().clone().requires_grad_()
with collected_router_logits() as logits:
    y = layer(x2)
(y * g).sum().backward()
assert torch.allclose(y, moe(x), atol=1e-5) and torch.allclose(x2.grad, x.grad, atol=1e-5)
assert torch.allclose(layer.router.weight.grad, moe.router.weight.grad, atol=1e-5)
assert layer.tokens_per_expert.tolist() == counts
assert all(layer.experts.down.grad[e].abs().max().item() == 0 for e in idle)
assert torch.allclose(load_balancing_loss(logits, chosen_n), balance(moe.p, moe.chosen), atol=1e-5)
print("with the package:", layer, "\ntokens per expert", layer.tokens_per_expert.tolist())

# %% [markdown]
# A whole Qwen3 with experts. `loss` adds the balance in training. Parameters in all, and met by one token:

# %% tags=["package"]
from tinygrad_llm.models.qwen3_moe import PRESETS, Qwen3Moe

torch.manual_seed(3)
model = Qwen3Moe(PRESETS["tiny"])
ids = torch.randint(0, 512, (2, 33))
model.loss(ids[:, :-1], ids[:, 1:]).backward()
for i, block in enumerate(model.trf_blocks):
    sizes = block.ff.experts.down.grad.pow(2).sum((1, 2)).sqrt()  # (E, C, F) -> (E)
    print(f"block {i}: tokens per expert {block.ff.tokens_per_expert.tolist()}, "
          f"|gradient| {[round(s, 2) for s in sizes.tolist()]}")
    assert block.ff.tokens_per_expert.sum() == 2 * 32 * 2
c = PRESETS["qwen3-30b-a3b"]
per_expert = 3 * c.emb_dim * c.hidden_dim
attention = 2 * (c.n_heads + c.n_kv_heads) * c.head_dim * c.emb_dim + 2 * c.head_dim
shared = 2 * c.vocab_size * c.emb_dim + c.emb_dim + c.n_layers * (attention + c.n_experts * c.emb_dim + 2 * c.emb_dim)
total, active = (shared + c.n_layers * n * per_expert for n in (c.n_experts, c.n_experts_per_token))
print(f"Qwen3 30B-A3B: {total:,} parameters, {active:,} of them for one token")
assert total == 30_532_122_624 and 3.3e9 < active < 3.4e9

# %% [markdown]
# ## Exercises
# 1. Do not divide by the sum of the chosen (`norm_topk_prob=False`). Which rows of the router have a gradient
#    now, and why?
# 2. All eight experts are copies of one feed forward. What does the layer compute, and does it matter
#    which are chosen? What is the router's gradient?
# 3. Draw the ids of chosen experts at random, 1,000 tokens with 8 of 128 each. How far is the busiest expert
#    above the mean? What does that mean for a computer that gives each expert one core?
#
# Solutions: `lessons/solutions/09_families/03_qwen3_experts.py`
