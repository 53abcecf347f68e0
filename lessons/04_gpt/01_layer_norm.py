# ---
# jupyter:
#   jupytext:
#     text_representation: {extension: .py, format_name: percent}
# ---

# %% [markdown]
# # 1. Layer norm: keeping numbers at a stable size
#
# **Question.** Each layer multiplies its input by a matrix. After thirty layers the numbers are tiny, or
# huge. How does a deep model keep them at a size it can work with?
#
# **For example.** (2, 4, 6) has the mean 4 and the standard deviation 1.63: it becomes (−1.22, 0, 1.22).
# (200, 400, 600) becomes the same.
#
# **Answer.** Before each layer, give every token's vector the mean 0 and the variance 1, independently of
# all other tokens. Then let the model choose another scale and shift for each channel:
#
#     μ = mean(x)      σ² = mean((x − μ)²)      y = w·(x − μ)/√(σ² + ε) + b
#
# (Ba, Kiros and Hinton 2016.) ε prevents a division by 0 where all channels are equal.
#
# **You need.** Chapters 01 and 03.

# %%
import matplotlib.pyplot as plt

import tinygrad_llm as torch
import tinygrad_llm.nn.functional as F
from tinygrad_llm import nn
from tinygrad_llm.study.lesson import save_plot

# %% [markdown]
# ## By hand

# %%
torch.manual_seed(123)
x = torch.randn(2, 5) * 3 + 1  # two tokens of five channels
mean = x.mean(dim=-1, keepdim=True)  # (2, 5) -> (2, 1)
variance = x.var(dim=-1, keepdim=True, unbiased=False)  # (2, 5) -> (2, 1)
normal = (x - mean) / torch.sqrt(variance + 1e-5)  # (2, 5) - (2, 1) -> (2, 5)
print("means before", mean.flatten(), " variances", variance.flatten())
print(normal)
print("variances after", normal.var(dim=-1, unbiased=False))
assert normal.mean(dim=-1).abs().max() < 1e-6
assert torch.allclose(normal.var(dim=-1, unbiased=False), torch.ones(2), atol=1e-4)


class OwnLayerNorm(nn.Module):
    def __init__(self, emb_dim, eps=1e-5):
        super().__init__()
        self.eps = eps
        self.weight = nn.Parameter(torch.ones(emb_dim))  # (C)
        self.bias = nn.Parameter(torch.zeros(emb_dim))  # (C)

    def forward(self, x):
        centred = x - x.mean(dim=-1, keepdim=True)
        variance = (centred * centred).mean(dim=-1, keepdim=True)
        return self.weight * centred / torch.sqrt(variance + self.eps) + self.bias


# %% [markdown]
# ## With the package

# %%
own, layer = OwnLayerNorm(5), nn.LayerNorm(5)
assert torch.allclose(own(x), layer(x), atol=1e-6) and torch.allclose(own(x), normal, atol=1e-6)
print("shape", layer(x).shape, " parameters", [tuple(p.shape) for p in layer.parameters()])

# %% [markdown]
# A trap: `x.var()` divides by n − 1 (an estimate for a larger population), layer norm divides by n. With 768
# channels nobody sees the difference; with 5 the variance becomes 0.8.

# %%
wrong = (x - mean) / torch.sqrt(x.var(dim=-1, keepdim=True) + 1e-5)
print("with n − 1 the variance is", wrong.var(dim=-1, unbiased=False))
assert torch.allclose(wrong.var(dim=-1, unbiased=False), torch.full((2,), 0.8), atol=1e-3)

# %% [markdown]
# Layer norm removes two things, so the layers after it never see them: a factor (a token's vector times 100)
# and a shift (a token's vector plus 100).

# %%
assert torch.allclose(layer(100 * x), layer(x), atol=1e-4)
assert torch.allclose(layer(x + 100), layer(x), atol=1e-3)
other = x.clone()
other[1] = 50.0  # another token changes
assert torch.equal(layer(other)[0], layer(x)[0])  # no token depends on the others
print("a token whose channels are all equal becomes", layer(other)[1].detach().tolist())

# %% [markdown]
# ## Thirty layers
# Random matrices whose weights are a little too small, right, or too large. Without norm the size of the
# numbers grows or shrinks by a factor in each layer. With a norm before each layer the size stays the same.

# %%
def sizes(gain, norm):
    torch.manual_seed(1)
    x, stds = torch.randn(16, 64), []
    for _ in range(30):
        if norm:
            x = F.layer_norm(x, (64,))
        x = F.relu(x @ (torch.randn(64, 64) * gain / 8))  # (16, 64)
        stds.append(x.std().item())
    return stds


curves = {(gain, norm): sizes(gain, norm) for gain in (0.7, 1.4, 2.8) for norm in (False, True)}
for (gain, norm), stds in curves.items():
    print(f"gain {gain}, {'with' if norm else 'without':7} norm: size after layer 10 {stds[9]:10.4f}")
assert curves[0.7, False][-1] < 1e-6 and curves[2.8, False][-1] > 1e6
assert all(0.1 < stds[-1] < 10 for (_, norm), stds in curves.items() if norm)

# %%
figure, axis = plt.subplots(figsize=(7.5, 4))
for (gain, norm), stds in curves.items():
    color = {0.7: "tab:blue", 1.4: "tab:orange", 2.8: "tab:green"}[gain]
    axis.semilogy(range(1, 31), stds, "-" if norm else "--", c=color,
                  label=f"gain {gain}, " + ("with norm" if norm else "without"))
axis.set_xlabel("layer"), axis.set_ylabel("size of its output"), axis.legend(fontsize=8)
save_plot(figure, "01_layer_norm")

# %% [markdown]
# Its backward pass, and RMS norm, which does not subtract the mean: lesson 6 of `00_backprop`.
#
# ## Exercises
# 1. *Batch* norm takes mean and variance over the tokens, for each channel. Compute it, and show that a
#    token's result then depends on the others. Why is that bad for a model that must not see the future?
# 2. A vector of 768 zeros with a single 1: what is the largest number after layer norm? Derive it, then
#    check.
# 3. Set weight and bias so that, for one given vector, a layer norm returns its input.
#
# Solutions: `lessons/solutions/04_gpt/01_layer_norm.py`
