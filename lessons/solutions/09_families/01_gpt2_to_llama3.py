# ---
# jupyter:
#   jupytext:
#     text_representation: {extension: .py, format_name: percent}
# ---

# %% [markdown]
# # Solutions: from GPT-2 to Llama 3
#
# ## 1. Llama 2 70B
# The key heads take the rows of two of the four matrices of attention.

# %%
import tinygrad_llm as torch
import tinygrad_llm.nn.functional as F

def n_parameters(C, hidden, L, H, KV, V=32000):
    D = C // H
    block = 2 * (H + KV) * D * C + 3 * C * hidden + 2 * C
    return 2 * V * C + L * block + C  # embedding and output layer are not tied


grouped, full = (n_parameters(8192, 28672, 80, 64, KV) for KV in (8, 64))
print(f"8 key heads: {grouped:,} parameters; 64: {full:,}, {full / grouped - 1:.0%} more")
assert n_parameters(4096, 11008, 32, 32, 32) == 6_738_415_616  # the formula is right for 7B
assert grouped == 68_976_648_192

# %% [markdown]
# ## 2. The same extra angle
# A rotation R has RᵀR = 1, so (R·q)·(R·k) = q·k. This is why only the distance counts. Values are not compared
# with anything: they are summed. Turned values would arrive with an angle that depends on where the token
# stood, and the next layer would have to undo it.

# %%
def turn(x, angle):
    a, b = x.chunk(2, dim=-1)  # (T, D) -> (T, D/2) twice
    cos, sin = torch.cos(angle), torch.sin(angle)
    return torch.cat([a * cos - b * sin, b * cos + a * sin], dim=-1)


torch.manual_seed(1)
q, k, extra = torch.randn(5, 8), torch.randn(5, 8), torch.randn(4)
before, after = q @ k.T, turn(q, extra) @ turn(k, extra).T  # (5, 5)
print("scores after the extra turn are the same:", torch.allclose(before, after, atol=1e-5))
assert torch.allclose(before, after, atol=1e-5)
assert not torch.allclose(k.mean(0), turn(k, extra).mean(0), atol=1e-2)  # a mean of values would change

# %% [markdown]
# ## 3. No positions at all
# The causal mask alone says something: the second token sees two tokens, itself and one other. It asks with its
# own vector, so "a b" and "b a" differ, because the asking token does. But the third token of "a b c" and of
# "b a c" sees the same *set* of tokens with the same query: with one block the outputs are equal.

# %%
def attend(x):
    return F.scaled_dot_product_attention(x, x, x, is_causal=True)  # (1, T, C)


a, b, c = torch.randn(3, 8)
abc = attend(torch.stack([a, b, c]).unsqueeze(0))[0]
bac = attend(torch.stack([b, a, c]).unsqueeze(0))[0]
print("second token: equal", torch.allclose(abc[1], bac[1], atol=1e-4),
      "  third token: equal", torch.allclose(abc[2], bac[2], atol=1e-6))
assert torch.allclose(abc[2], bac[2], atol=1e-6)
assert not torch.allclose(abc[1], bac[1], atol=1e-4)

# %% [markdown]
# (With two blocks even the third differs: in the second block it sees the outputs of the second token, which
# were different. This is how models without positions can learn an order.)
