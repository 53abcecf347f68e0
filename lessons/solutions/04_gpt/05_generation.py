# ---
# jupyter:
#   jupytext:
#     text_representation: {extension: .py, format_name: percent}
# ---

# %% [markdown]
# # Solutions: one token after the other

# %%
import tinygrad_llm as torch

logits = torch.tensor([[2.0, 1.0, 0.0, -1.0]])  # (1, V)

# %% [markdown]
# ## 1. Temperature
# Below 1 the best token wins more often; above 1 the probabilities come closer together. The order never
# changes.

# %%
torch.manual_seed(123)
for temperature in (0.5, 1.0, 2.0):
    p = torch.softmax(logits / temperature, dim=-1)
    sampled = torch.multinomial(p.expand(4000, 4), 1)  # (4000, 4) -> (4000, 1)
    share = torch.bincount(sampled.flatten(), minlength=4) / 4000
    print(f"temperature {temperature}: probabilities {[round(c, 3) for c in p[0].tolist()]}   sampled {[round(s, 3) for s in share.tolist()]}")
    assert (share - p[0]).abs().max() < 0.03

# %% [markdown]
# ## 2. Top-k
# A logit of 0 does not mean "impossible": exp(0) = 1. Here it would make the worst token more likely than
# before.

# %%
top, _ = torch.topk(logits, 2)  # (1, 2)
kept = torch.where(logits < top[:, -1:], torch.tensor(-torch.inf), logits)
zeroed = torch.where(logits < top[:, -1:], torch.tensor(0.0), logits)
right, wrong = torch.softmax(kept, dim=-1), torch.softmax(zeroed, dim=-1)
print("−∞:", right, "\n0: ", wrong)
assert right[0, 2] == right[0, 3] == 0.0 and wrong[0, 3] > torch.softmax(logits, dim=-1)[0, 3]

# %% [markdown]
# ## 3. A large cache
# 2 (keys and values)·L·T·C numbers for each text. It is more than the weights of the model (6.2 GB)! That is
# why later models keep keys and values for only a few heads, and several query heads share them.

# %%
def gigabytes(texts, T, C, L, bytes_each=4, share=1.0):
    return 2 * L * T * C * share * bytes_each * texts / 1e9


sizes = [gigabytes(32, 1024, 1600, 48), gigabytes(32, 1024, 1600, 48, 2), gigabytes(32, 1024, 1600, 48, 2, 5 / 25)]
print("float32 {:.2f} GB, 16 bits {:.2f} GB, 16 bits and 5 of 25 heads {:.2f} GB".format(*sizes))
assert abs(sizes[0] - 20.13) < 0.01 and abs(sizes[2] - sizes[0] / 10) < 1e-9
