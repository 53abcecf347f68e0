# ---
# jupyter:
#   jupytext:
#     text_representation: {extension: .py, format_name: percent}
# ---

# %% [markdown]
# # 3. Windows, holes and sinks
#
# **Question.** Most weights of attention are near zero, so why not look at the last w tokens only? And why does a
# model that was trained without a window break when the *first* token leaves it?
#
# **For example.** Weights (0.97, 0.01, 0.02): a head that has nothing to look for puts 0.97 on the first
# token. When that one leaves the window, 0.97 must go somewhere else.
#
# **Predict first.** The weights of a query sum to 1. A head that finds nothing of interest in a text: where does
# it put its weight?
#
#     window w              keys i, i − 1, …, i − w + 1
#     dilation d            keys i, i − d, …, i − (w − 1)·d         the same number of keys, d times as far
#     first n kept          the window, and keys 0 … n − 1          (StreamingLLM)
#     a learned sink s      p_j = exp(s_j) / (exp(s) + Σ exp(s_j))  (gpt-oss): weights may sum to less than 1
#
# **You need.** Chapter 09, lesson 4.

# %%
import math

import matplotlib.pyplot as plt

import tinygrad_llm as torch
import tinygrad_llm.nn.functional as F
from tinygrad_llm import nn
from tinygrad_llm.study.lesson import save_plot

# %% [markdown]
# ## By hand: three patterns as masks

# %%
def pattern(T, window, dilation=1, first=0):
    i, j = torch.arange(T).unsqueeze(1), torch.arange(T)
    near = (i - j < window * dilation) & ((i - j) % dilation == 0)
    return (j <= i) & (near | (j < first))  # (T, T)


patterns = {"window 4": pattern(16, 4), "dilation 3": pattern(16, 4, 3), "first 2 kept": pattern(16, 4, 1, 2)}
for name, mask in patterns.items():
    row = "".join("x" if seen else "." for seen in mask[-1].tolist())
    print(f"{name:12} the last token sees {row}: {mask[-1].sum().item()} keys, pairs in all {mask.sum().item()}")
assert [m[-1].sum().item() for m in patterns.values()] == [4, 4, 6]

# %% [markdown]
# Layers pass on what they saw: with L layers a token knows (w − 1)·d·L tokens before it. The gradient shows it.

# %%
def reach(mask, layers):
    """The oldest token whose x changes the last token's output after so many layers."""
    T = len(mask)
    x = torch.ones(T, 1).requires_grad_()
    y = x
    for _ in range(layers):
        y = mask.float() @ y / mask.float().sum(dim=1, keepdim=True)  # (T, T) @ (T, 1)
    y[-1].sum().backward()
    return T - 1 - [t for t in range(T) if x.grad[t].item() > 0][0]


for d in (1, 2, 3):
    far = [reach(pattern(40, 4, d), layers) for layers in (1, 2, 3)]
    print(f"dilation {d}: reaches {far} tokens back with 1, 2, 3 layers")
    assert far == [3 * d, 6 * d, 9 * d]

# %% [markdown]
# ## A head that wants to look nowhere
# The task: copy the value of the token before if it is marked, else return 0. The second case has no key to look
# at. We train one head, with a learned sink and without. What changes is one number.

# %%
class Head(nn.Module):
    def __init__(self, with_sink):
        super().__init__()
        self.q, self.k = nn.Linear(10, 8, bias=False), nn.Linear(10, 8, bias=False)
        self.v = nn.Linear(10, 1, bias=False)
        self.sink = nn.Parameter(torch.zeros(1)) if with_sink else None

    def weights(self, x):
        T = x.shape[1]
        scores = self.q(x) @ self.k(x).transpose(1, 2) / math.sqrt(8)  # (n, T, T)
        scores = scores.masked_fill(torch.triu(torch.ones(T, T), diagonal=1).bool(), -math.inf)
        if self.sink is None:
            return torch.softmax(scores, dim=-1)
        column = self.sink.expand(x.shape[0], T, 1)  # one more score, without a key and a value
        return torch.softmax(torch.cat([scores, column], dim=-1), dim=-1)[..., :-1]

    def forward(self, x):
        return self.weights(x) @ self.v(x)  # (n, T, T) @ (n, T, 1) -> (n, T, 1)


def batch(n, T=8):
    value, marked = torch.rand(n, T, 1) + 0.5, (torch.rand(n, T, 1) < 0.3).float()
    x = torch.cat([value, marked, torch.eye(T).expand(n, T, T)], dim=-1)  # (n, T, 10)
    before = torch.cat([torch.zeros(n, 1, 1), (value * marked)[:, :-1]], dim=1)
    return x, before


ends, heads = {}, {}
for with_sink in (False, True):
    torch.manual_seed(5)
    head = heads[with_sink] = Head(with_sink)
    optimizer = torch.optim.AdamW(head.parameters(), lr=0.03)
    losses = []
    for _ in range(400):
        x, target = batch(64)
        loss = F.mse_loss(head(x), target)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    ends[with_sink] = sum(losses[-50:]) / 50
print("with a sink the loss is less than half:", ends[True] < 0.5 * ends[False])
assert ends[True] < 0.5 * ends[False]

# %% [markdown]
# Its gradient: with p_s = exp(s)/(exp(s) + Σ) the sink's weight and d = g·y, ∂L/∂s = −p_s·d. The value of a sink is
# 0, so all that it does is make the other weights smaller.

# %%
scores = torch.randn(5).double().requires_grad_()
sink = torch.tensor(0.3).double().requires_grad_()
v, g = torch.randn(5).double(), 1.7
p = torch.softmax(torch.cat([scores, sink.view(1)]), dim=0)
y = p[:-1] @ v
(g * y).backward()
by_hand = -p[-1].item() * g * y.item()
print("∂L/∂sink by the formula and by autograd:", abs(by_hand - sink.grad.item()) < 1e-12)
assert abs(by_hand - sink.grad.item()) < 1e-12

# %% [markdown]
# ## With the package
# All are arguments of `Attention`. A cache for a window with the first tokens kept holds n + w tokens of any text.

# %% tags=["package"]
from tinygrad_llm.layers.attention import Attention
from tinygrad_llm.layers.rotary import Rotary

x = torch.randn(1, 60, 32)
plain = Attention(32, 4, rotary=Rotary(8)).eval()
for options in ({"window": 8}, {"window": 8, "dilation": 2}, {"window": 8, "keep_first": 2}):
    layer = Attention(32, 4, rotary=Rotary(8), **options).eval()
    layer.load_state_dict(plain.state_dict())
    mask = pattern(60, 8, options.get("dilation", 1), options.get("keep_first", 0))
    cache = layer.new_cache(60)
    with torch.no_grad():
        assert torch.allclose(layer(x), plain(x, mask=mask), atol=1e-5)  # (1, 60, 32)
        pieces = [layer(x[:, t : t + 1], cache=cache) for t in range(60)]
        assert torch.allclose(torch.cat(pieces, dim=1), layer(x), atol=1e-5)
    print(layer.extra_repr()[:60], "...: the mask, and one token after the other, give the same")
sinks = Attention(32, 4, sinks=True)
print("one learned number per head:", tuple(sinks.sinks.shape))
assert sinks.sinks.shape == (4,)

figure, axes = plt.subplots(1, 5, figsize=(15, 3.2))
for axis, (name, mask) in zip(axes, patterns.items()):
    axis.imshow(mask.float().numpy(), cmap="Blues"), axis.set_title(name)
for axis, (with_sink, head) in zip(axes[3:], heads.items()):
    torch.manual_seed(1)
    weights = head.weights(batch(1)[0])[0].detach()
    axis.imshow(weights.numpy(), cmap="Blues", vmin=0, vmax=1)
    axis.set_title("trained with a sink" if with_sink else "trained without")
for axis in axes:
    axis.set_xlabel("key")
axes[0].set_ylabel("query")
save_plot(figure, "03_windows_and_sinks")

# %% [markdown]
# ## Exercises
# 1. 32 layers, 27 of them with a window of 1,024, context 32,768: how much smaller is the cache than with full
#    attention everywhere?
# 2. Give a head without a sink a first token whose value is 0. What does it learn to do?
# 3. Which keys does a token see with windows of 4 and dilations 1, 4, 16 in three layers? Compute the reach.
#
# Solutions: `lessons/solutions/11_attention_variants/03_windows_and_sinks.py`
