# ---
# jupyter:
#   jupytext:
#     text_representation: {extension: .py, format_name: percent}
# ---

# %% [markdown]
# # 4. Gemma 3: sliding windows, and norms that store the distance from one
#
# **Question.** In five of six blocks of Gemma 3 a token sees only the last 512 tokens. Can it still know what
# stood at the beginning of a long text?
#
# **For example.** Window 3, two blocks: token 9 sees 7 and 8, and token 7 had seen 5. So something of token 5
# can reach token 9.
#
# **Predict first.** A window of w = 4 tokens (the token itself and 3 before it), and L = 3 blocks. How many
# tokens back can something reach the output, at most? And how much smaller is the KV cache of a text of 32,768
# tokens, with 5 of 6 blocks of window 512?
#
# A token passes on what it has seen: after one block w − 1 tokens back, after L blocks L·(w − 1). And every
# sixth block sees everything. The second new thing is small: norms are y = (1 + w)·x̂ with w = 0 at the start.
#
# **You need.** Chapter 03, lesson 3.

# %%
import matplotlib.pyplot as plt

import tinygrad_llm as torch
import tinygrad_llm.nn.functional as F
from tinygrad_llm.study.lesson import save_plot

# %% [markdown]
# ## By hand: a window is a band in the mask

# %%
def band(T, window):
    ones = torch.ones(T, T)
    return (ones.tril() - ones.tril(-window)).bool()  # token t sees t − window + 1 … t


print("shape", tuple(band(6, 3).shape))
for row in band(6, 3).int().tolist():
    print("  ", *row)
assert band(6, 3).sum(1).tolist() == [1, 2, 3, 3, 3, 3]

# %% [markdown]
# Who reaches whom through several blocks? The gradient says it: ∂(output of the last token)/∂(input of
# token t) is 0 if nothing leads from t to the end.

# %%
torch.manual_seed(123)
T, C, w = 16, 8, 4


def reach(windows):
    """The size of the gradient of the last token's output at each input token: (T)."""
    x = (0.3 * torch.randn(1, 1, T, C)).requires_grad_()
    y = x
    for window in windows:
        y = y + F.scaled_dot_product_attention(y, y, y, attn_mask=band(T, window))
    y[0, 0, -1].sum().backward()
    return x.grad[0, 0].norm(dim=-1)  # (1, 1, T, C) -> (T)


reached = {}
for name, windows in (("1 block", [w]), ("2 blocks", [w] * 2), ("3 blocks", [w] * 3), ("2 and a full one", [w, w, T])):
    reached[name] = reach(windows)
    n = int((reached[name] > 0).sum()) - 1
    print(f"{name:17}: the last token depends on tokens up to {n} back")
    assert n == min(T - 1, sum(window - 1 for window in windows))

# %% [markdown]
# ## By hand: bytes of the cache
# A block with a window needs only the last `window` keys and values, so its cache *rolls*.

# %%
def cached_tokens(T, layers, window, full_every):
    full = layers // full_every
    return full * T + (layers - full) * min(T, window)


for T_text in (512, 4096, 32768):
    mixed, full = cached_tokens(T_text, 18, 512, 6), 18 * T_text
    print(f"{T_text:6,} tokens: {mixed * 2 * 256 * 2 / 1e6:6.1f} MB with windows, {full * 2 * 256 * 2 / 1e6:6.1f} MB without "
          f"({full / mixed:.1f} times less)")
assert cached_tokens(512, 18, 512, 6) == 18 * 512  # short texts: nothing is saved
assert 5 < 18 * 32768 / cached_tokens(32768, 18, 512, 6) < 6

# %% [markdown]
# ## By hand: why 1 + w?
# Weight decay pulls every weight to 0. For y = w·x̂ this is "switch the channel off"; for y = (1 + w)·x̂
# it is "leave the channel as it is". Both start as the same function. Train neither, only decay:

# %%
w_plain, w_offset = torch.ones(4), torch.zeros(4)  # the factor is w, or 1 + w
for _ in range(200):
    w_plain, w_offset = w_plain * (1 - 0.01), w_offset * (1 - 0.01)
print(f"after 200 steps of decay: factor {w_plain[0].item():.3f} and {1 + w_offset[0].item():.3f}")
assert w_plain[0].item() < 0.2 and 1 + w_offset[0].item() == 1.0

# %% [markdown]
# The gradients are equal: ∂L/∂w is the same for w and for 1 + w. And a loader must know which of the two a
# file holds: GGUF files hold 1 + w, Hugging Face's folders w. Exchange them, and no error comes:

# %%
x, g = torch.randn(5, 4), torch.randn(5, 4)
factor, distance = torch.ones(4, requires_grad=True), torch.zeros(4, requires_grad=True)
(F.rms_norm(x, (4,), factor) * g).sum().backward()
(F.rms_norm(x, (4,), 1 + distance) * g).sum().backward()
assert torch.allclose(factor.grad, distance.grad)
print("the same gradient:", [round(v, 3) for v in factor.grad.tolist()])
assert F.rms_norm(x, (4,), 1 + factor).norm().item() > 1.9 * F.rms_norm(x, (4,), factor).norm().item()

# %% [markdown]
# ## With the package
# `Attention(window=...)`, `OffsetRMSNorm`, and the whole model. Its blocks 0 to 4 have a window of 16.

# %% tags=["package"]
from tinygrad_llm.layers.attention import Attention
from tinygrad_llm.layers.norm import OffsetRMSNorm
from tinygrad_llm.models.gemma3 import PRESETS, Gemma3

layer = Attention(C, 2, bias=False, window=w)
x = torch.randn(1, T, C)
with torch.no_grad():
    q, k, v = layer.qkv(x).view(1, T, 6, C // 2).transpose(1, 2).split(2, dim=1)  # (1, 2, T, D) each
    y = F.scaled_dot_product_attention(q, k, v, attn_mask=band(T, w)).transpose(1, 2).reshape(1, T, C)
    assert torch.allclose(layer(x), layer.out_proj(y), atol=1e-6)
norm = OffsetRMSNorm(4)
assert norm.weight.tolist() == [0.0] * 4 and torch.allclose(norm(g), F.rms_norm(g, (4,)), atol=1e-6)

torch.manual_seed(1)
model = Gemma3(PRESETS["tiny"]).eval()
print("windows of the blocks:", [block.att.window for block in model.trf_blocks],
      " norms in a block:", sum("norm" in name for name, _ in model.trf_blocks[0].named_children()))
ids = torch.randint(0, 512, (1, 60))
cache = model.new_cache()
with torch.no_grad():
    whole = model(ids)
    pieces = [model(ids[:, :20], cache=cache)] + [model(ids[:, t : t + 1], cache=cache) for t in range(20, 60)]
print("tokens that the caches have seen:", len(cache), "; one by one gives the same logits")
assert torch.allclose(torch.cat(pieces, dim=1), whole, atol=1e-4)  # (1, 60, V), windows have rolled

# %% [markdown]
# ## Break it
# The five blocks with windows and the full one turn at different speeds (base 10,000 and 1,000,000). Give all
# of them the base of the full block: no error, other logits.

# %% tags=["package"]
other = Gemma3({**vars(PRESETS["tiny"]), "local_rope_base": 1e6}).eval()
other.load_state_dict(model.state_dict())
with torch.no_grad():
    difference = (other(ids) - whole).abs().max().item()
print(f"one wrong base: logits differ by up to {difference:.3f}, and nothing else says so")
assert difference > 1e-4

# %%
figure, axis = plt.subplots(figsize=(7, 4))
for name, sizes in reached.items():
    axis.semilogy(range(T), sizes.clamp(min=1e-12).tolist(), "o-", label=name)
axis.set_ylim(1e-6, 20), axis.set_xlabel("input token (the output is token 15's)"), axis.set_ylabel("|gradient|")
axis.legend()
save_plot(figure, "04_gemma3_windows")

# %% [markdown]
# ## Exercises
# 1. Gemma 3 270M has 18 blocks, 15 of them with a window of 512. How far back does its last token see through
#    the windows alone? Why are the full blocks needed all the same?
# 2. Products of scores: attention without a window computes about T²/2 scores for T tokens. How many does one
#    with a window w? For which T is it a tenth, at w = 512?
# 3. Embeddings are multiplied by √C in Gemma. The first norm divides by the size of the vector, so the
#    factor seems to be lost. What does it change?
#
# Solutions: `lessons/solutions/09_families/04_gemma3_windows.py`
