# ---
# jupyter:
#   jupytext:
#     text_representation: {extension: .py, format_name: percent}
# ---

# %% [markdown]
# # 1. From GPT-2 to Llama 3, one change after the other
#
# **Question.** GPT-2 (2019) and Llama 3 (2024) do the same thing: token ids in, scores for the next token out.
# What was changed between them, and what does each change do to the number of parameters, to the shapes
# and to the gradient?
#
# **For example.** GPT-2's norm of (3, 4) gives (−1, 1). RMS norm divides by √((9 + 16)/2) = 3.54 and gives
# (0.85, 1.13): the mean stays in.
#
# **Predict first.** There are six changes. Which of them adds parameters, which takes some away, and which
# changes none at all?
#
#     1. LayerNorm           -> RMSNorm           y = w·x/√(mean(x²) + ε): no mean, no bias
#     2. learned positions   -> rotary            queries and keys are turned, in every block
#     3. GELU                -> SwiGLU            W_d·(silu(W_g·x)·(W_u·x)): a product of two factors
#     4. biases              -> none
#     5. heads               -> grouped heads     several query heads share one head of keys and values
#     6. (Llama 3.1) slow pairs of channels turn 8 times slower: longer texts
#
# Llama 2 7B has the changes 1 to 4, Llama 3 the fifth too.
#
# **You need.** Chapter 04.

# %%
import math

import matplotlib.pyplot as plt

import tinygrad_llm as torch
import tinygrad_llm.nn.functional as F
from tinygrad_llm import nn
from tinygrad_llm.study.lesson import save_plot

V, C, H, T, L = 256, 64, 4, 32, 2  # vocabulary, channels, heads, tokens, blocks
D = C // H  # channels of a head

# %% [markdown]
# ## By hand: one model with six switches
# First what is new: turning a pair of channels by an angle. Pair j of a head is (x_j, x_{j + D/2}), and
# the token at position t turns it by t·ω_j.

# %%
def frequencies(D, base, smooth):
    omega = base ** (-torch.arange(0, D, 2).float() / D)  # (D/2), pair 0 turns by 1 radian per token
    if not smooth:
        return omega
    factor, low, high, original = 8.0, 1.0, 4.0, 64.0  # Llama 3.1: original 8,192 tokens
    turns = original * omega / (2 * math.pi)  # in a text of the old length
    share = ((turns - low) / (high - low)).clamp(0, 1)  # 0: slow, 1: fast
    return (1 - share) * omega / factor + share * omega


def rotate(x, omega):
    angle = torch.arange(x.shape[-2]).float().unsqueeze(1) * omega  # (T, 1) * (D/2) -> (T, D/2)
    cos, sin = torch.cos(angle), torch.sin(angle)
    a, b = x.chunk(2, dim=-1)  # (B, H, T, D) -> (B, H, T, D/2) twice
    return torch.cat([a * cos - b * sin, b * cos + a * sin], dim=-1)


class Attention(nn.Module):
    def __init__(self, o):
        super().__init__()
        self.o = o
        self.qkv = nn.Linear(C, (H + 2 * o["kv_heads"]) * D, bias=o["bias"])
        self.out_proj = nn.Linear(C, C, bias=o["bias"])

    def forward(self, x):
        B, T, _ = x.shape
        KV = self.o["kv_heads"]
        qkv = self.qkv(x).view(B, T, H + 2 * KV, D).transpose(1, 2)  # (B, H + 2KV, T, D)
        q, k, v = qkv.split([H, KV, KV], dim=1)
        if self.o["rotary"]:
            omega = frequencies(D, 10000.0, self.o["smooth"])
            q, k = rotate(q, omega), rotate(k, omega)
        k, v = (a.repeat_interleave(H // KV, dim=1) for a in (k, v))  # (B, KV, T, D) -> (B, H, T, D)
        y = F.scaled_dot_product_attention(q, k, v, is_causal=True)
        return self.out_proj(y.transpose(1, 2).reshape(B, T, C))


class SwiGLU(nn.Module):
    def __init__(self, hidden, bias):
        super().__init__()
        self.gate_up = nn.Linear(C, 2 * hidden, bias=bias)
        self.down = nn.Linear(hidden, C, bias=bias)

    def forward(self, x):
        gate, up = self.gate_up(x).chunk(2, dim=-1)  # (B, T, C) -> (B, T, hidden) twice
        return self.down(F.silu(gate) * up)


def norm(o):
    return nn.RMSNorm(C, eps=1e-5) if o["rms"] else nn.LayerNorm(C)


class Block(nn.Module):
    def __init__(self, o):
        super().__init__()
        self.norm1, self.att, self.norm2 = norm(o), Attention(o), norm(o)
        if o["swiglu"]:
            self.ff = SwiGLU(o["hidden"], o["bias"])
        else:
            self.ff = nn.Sequential(nn.Linear(C, 4 * C), nn.GELU(approximate="tanh"), nn.Linear(4 * C, C))

    def forward(self, x):
        x = x + self.att(self.norm1(x))
        return x + self.ff(self.norm2(x))


class Model(nn.Module):
    def __init__(self, **o):
        super().__init__()
        self.tok_emb = nn.Embedding(V, C)
        self.pos_emb = None if o["rotary"] else nn.Embedding(T, C)
        self.trf_blocks = nn.ModuleList([Block(o) for _ in range(L)])
        self.final_norm = norm(o)
        self.out_head = nn.Linear(C, V, bias=False)
        self.out_head.weight = self.tok_emb.weight  # tied
        for p in self.parameters():
            if p.dim() == 2:
                nn.init.normal_(p, 0.0, 0.02)

    def forward(self, ids):
        x = self.tok_emb(ids)  # (B, T) -> (B, T, C)
        if self.pos_emb is not None:
            x = x + self.pos_emb(torch.arange(ids.shape[1]))
        for block in self.trf_blocks:
            x = block(x)
        return self.out_head(self.final_norm(x))  # (B, T, V)


# %% [markdown]
# ## The six changes
# Each line adds one change to those before it. `hidden` is 172 = 8/3·C, rounded to a multiple of 4: SwiGLU
# has three matrices, so with 2/3 of the channels in between it is as large as before.

# %%
options = dict(rms=False, rotary=False, swiglu=False, hidden=172, bias=True, kv_heads=H, smooth=False)
changes = [("GPT-2", {}), ("RMSNorm", {"rms": True}), ("rotary positions", {"rotary": True}),
           ("SwiGLU", {"swiglu": True}), ("no biases", {"bias": False}),
           ("2 heads of keys", {"kv_heads": 2}), ("slow pairs slower", {"smooth": True})]
torch.manual_seed(123)
ids = torch.randint(0, V, (2, T + 1))
counts, gradients, models = {}, {}, {}
for name, change in changes:
    options |= change
    torch.manual_seed(1)
    model = models[name] = Model(**options)
    loss = F.cross_entropy(model(ids[:, :-1]).flatten(0, 1), ids[:, 1:].flatten())
    loss.backward()
    counts[name] = sum(p.numel() for p in model.parameters())
    gradients[name] = [
        math.sqrt(sum((p.grad**2).sum().item() for p in block.parameters())) for block in model.trf_blocks
    ]
    difference = counts[name] - list(counts.values())[max(0, len(counts) - 2)]
    print(f"{name:18} {counts[name]:7,} parameters ({difference:+6,})  loss {loss.item():.3f}  "
          f"|gradient| of the blocks " + ", ".join(f"{g:.3f}" for g in gradients[name]))
    assert all(p.grad is not None for p in model.parameters())  # every parameter has a gradient
    assert abs(loss.item() - math.log(V)) < 0.2  # before training: as good as a guess among V

# %% [markdown]
# Each difference can be computed by hand.

# %%
steps = list(counts.values())
assert steps[1] - steps[0] == -(2 * L + 1) * C  # a bias in each norm
assert steps[2] - steps[1] == -T * C  # the table of positions
assert steps[3] - steps[2] == L * (3 * C * 172 + 2 * 172 + C - (8 * C * C + 5 * C))  # 3 matrices for 2
assert steps[4] - steps[3] == -L * (3 * C + C + 2 * 172 + C)  # qkv, out_proj, gate and up, down
assert steps[5] - steps[4] == -L * 2 * (H - 2) * D * C  # two heads fewer, of keys and of values
assert steps[6] == steps[5]  # angles are not parameters
print("shape of qkv:", tuple(models["no biases"].trf_blocks[0].att.qkv.weight.shape), "->",
      tuple(models["2 heads of keys"].trf_blocks[0].att.qkv.weight.shape))

# %% [markdown]
# ## What each change does to the gradient
# **RMSNorm.** Layer norm removes the mean of the gradient too: shifting all channels changes nothing. For
# RMSNorm a shift does change the output, so the gradient keeps its mean.

# %%
torch.manual_seed(5)
x = (torch.randn(3, C) + 1).requires_grad_()
g = torch.randn(3, C)
means = []
for layer in (nn.LayerNorm(C), nn.RMSNorm(C, eps=1e-5)):
    (gx,) = torch.autograd.grad((layer(x) * g).sum(), x)
    means.append(gx.mean(-1).abs().max().item())
print(f"largest mean of ∂L/∂x over the channels: layer norm {means[0]:.3f}, RMSNorm {means[1]:.3f}")
assert means[0] < 1e-6 < 0.01 < means[1]

# %% [markdown]
# **Rotary.** A rotation keeps lengths: |∂L/∂q| is the same before and after it, at every position. And a
# score depends only on the *distance* of two tokens: the same two vectors, 3 apart, at any place.

# %%
omega = frequencies(D, 10000.0, False)
q, k = torch.randn(D), torch.randn(D)
turned_q, turned_k = rotate(q.expand(T, D), omega), rotate(k.expand(T, D), omega)  # (T, D), at every position
scores = turned_q @ turned_k.T  # (T, T)
print("score of a pair 3 apart, at 4 places:", [round(scores[t + 3, t].item(), 3) for t in (0, 5, 11, 20)])
assert torch.allclose(scores.diagonal(-3), scores[3, 0].expand(T - 3), atol=1e-4)
assert scores.diagonal(-3)[0].sub(scores.diagonal(-4)[0]).abs().item() > 1e-3  # another distance: another score

x = torch.randn(1, 1, T, D).requires_grad_()
g = torch.randn(1, 1, T, D)
(gx,) = torch.autograd.grad((rotate(x, omega) * g).sum(), x)
assert torch.allclose(gx.norm(dim=-1), g.norm(dim=-1), atol=1e-4)

# %% [markdown]
# **SwiGLU.** In y = a·b each factor's gradient is the other factor. Where the gate is closed (silu near 0), the
# "up" half gets almost no gradient from this token.

# %%
gate, up = torch.tensor([-6.0, 0.0, 6.0], requires_grad=True), torch.ones(3, requires_grad=True)
(F.silu(gate) * up).sum().backward()
print("gate", gate.tolist(), " ∂L/∂up", [round(v, 3) for v in up.grad.tolist()])
assert up.grad[0].abs().item() < 0.02 and up.grad[2].item() > 5.9

# %% [markdown]
# **Grouped heads.** A shared key head is used by several query heads, so its gradient is the sum of what
# they send. We give each query head its own copy of the shared heads, and add the copies' gradients.

# %%
q, g = torch.randn(1, 4, 6, D), torch.randn(1, 4, 6, D)
k, v = torch.randn(1, 2, 6, D).requires_grad_(), torch.randn(1, 2, 6, D)
repeated = k.detach().repeat_interleave(2, dim=1).requires_grad_()  # (1, 2, 6, D) -> (1, 4, 6, D)
shared = F.scaled_dot_product_attention(q, k.repeat_interleave(2, dim=1), v.repeat_interleave(2, dim=1))
copies = F.scaled_dot_product_attention(q, repeated, v.repeat_interleave(2, dim=1))
(shared * g).sum().backward()
(copies * g).sum().backward()
summed = repeated.grad.view(1, 2, 2, 6, D).sum(2)  # (1, 4, 6, D) -> (1, 2 heads, 2 copies, 6, D) -> (1, 2, 6, D)
print("gradient of the shared keys", tuple(k.grad.shape), "= the sum of the copies' gradients")
assert torch.allclose(k.grad, summed, atol=1e-5)

# %% [markdown]
# **Slow pairs slower.** The pair that turns most slowly must not meet an angle that it never saw in
# training. Fast pairs, which tell neighbours apart, stay as they are.

# %%
plain, smooth = frequencies(D, 10000.0, False), frequencies(D, 10000.0, True)
for j in range(D // 2):
    print(f"pair {j}: a turn takes {2 * math.pi / plain[j].item():9.0f} tokens, "
          f"then {2 * math.pi / smooth[j].item():9.0f}")
assert torch.equal(smooth[:1], plain[:1]) and torch.allclose(smooth[-1] * 8, plain[-1])

figure, (left, right) = plt.subplots(1, 2, figsize=(11, 4))
left.barh(list(counts)[::-1], list(counts.values())[::-1])
left.set_xlim(min(steps) * 0.9), left.set_xlabel("parameters of the small model")
right.plot(scores.detach()[:, 0].tolist())
right.set_xlabel("distance of the two tokens"), right.set_ylabel("score of the same two vectors, turned")
save_plot(figure, "01_gpt2_to_llama3")

# %% [markdown]
# ## With the package
# `Llama` is this model. With the same weights it gives the same logits and the same gradients.

# %% tags=["package"]
from tinygrad_llm.models import Llama, LlamaConfig
from tinygrad_llm.models.gpt import PRESETS as GPT_PRESETS
from tinygrad_llm.models.llama import PRESETS

scaling = {"rope_type": "llama3", "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0,
           "original_max_position_embeddings": 64}
llama = Llama(LlamaConfig(V, T, C, 172, L, H, 2, rope_scaling=scaling, tie_weights=True))
by_hand = models["slow pairs slower"]
llama.load_state_dict(by_hand.state_dict())
llama.loss(ids[:, :-1], ids[:, 1:]).backward()
theirs = dict(by_hand.named_parameters())
with torch.no_grad():
    assert torch.allclose(llama(ids[:, :-1]), by_hand(ids[:, :-1]), atol=1e-5)
for name, p in llama.named_parameters():
    assert torch.allclose(p.grad, theirs[name].grad, atol=1e-5), name
print(f"Llama: {llama.n_parameters():,} parameters, the same logits and {len(theirs)} equal gradients")
assert llama.n_parameters() == counts["slow pairs slower"]

# %% [markdown]
# The published sizes, by the same arithmetic and without building anything:

# %% tags=["package"]
def n_llama(c):
    attention = (2 * c.n_heads + 2 * c.n_kv_heads) * c.head_dim * c.emb_dim  # q and out_proj, k and v
    block = attention + 3 * c.emb_dim * c.hidden_dim + 2 * c.emb_dim
    head = 0 if c.tie_weights else c.vocab_size * c.emb_dim
    return c.vocab_size * c.emb_dim + c.n_layers * block + c.emb_dim + head


for name in ("llama2-7b", "llama3-8b", "llama3.2-1b"):
    print(f"{name:12} {n_llama(PRESETS[name]):13,}")
assert n_llama(PRESETS["llama2-7b"]) == 6_738_415_616
assert n_llama(PRESETS["llama3-8b"]) == 8_030_261_248
assert n_llama(PRESETS["llama3.2-1b"]) == 1_235_814_400
assert n_llama(llama.config) == llama.n_parameters()

# %% [markdown]
# ## Exercises
# 1. Llama 2 7B has as many key heads as query heads. Its 70B version has 64 query heads and 8 key heads,
#    80 blocks, 8,192 channels and 28,672 in between. How many parameters does it have, and how many with 64 key
#    heads?
# 2. Show that turning *both* vectors by the same extra angle changes no score. What would happen if
#    the values were turned too?
# 3. Take the change to rotary positions back, and give the model no positions at all. Can it tell "a b" from
#    "b a" at the second token? And at the third of "a b c" and "b a c", with one block?
#
# Solutions: `lessons/solutions/09_families/01_gpt2_to_llama3.py`
