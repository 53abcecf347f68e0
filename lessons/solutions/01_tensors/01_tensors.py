# ---
# jupyter:
#   jupytext:
#     text_representation: {extension: .py, format_name: percent}
# ---

# %% [markdown]
# # Solutions: what a tensor is
#
# ## 1. The strides of any shape
# The last dimension has stride 1. Each one before it jumps over everything behind it: its stride is the
# product of the sizes to its right. For (2, 3, 5): 15, 5, 1.

# %%
import tinygrad_llm as torch


def strides_of(shape):
    strides, jump = [], 1
    for size in reversed(shape):
        strides.insert(0, jump)
        jump *= size
    return tuple(strides)


for shape in ((2, 3, 5), (7,), (4, 1, 6, 2)):
    print(shape, "->", strides_of(shape))
    assert strides_of(shape) == torch.zeros(shape).stride()

# %% [markdown]
# ## 2. From (8, 6, 12) to (8, 3, 6, 4)
# First cut the 12 numbers into 3 heads of 4, which `view` can do. Then exchange the token and the head
# dimension. A view straight to (8, 3, 6, 4) would have the right shape and wrong numbers in it: head 0
# would get all 12 numbers of the first tokens.

# %%
x = torch.arange(8 * 6 * 12).reshape(8, 6, 12)
heads = x.view(8, 6, 3, 4).transpose(1, 2)  # (8, 6, 12) -> (8, 6, 3, 4) -> (8, 3, 6, 4)
print("strides", heads.stride(), " numbers of head 1, token 0:", heads[0, 1, 0].tolist())
assert heads.stride() == (72, 4, 12, 1) and heads.data_ptr() == x.data_ptr()
assert heads[0, 1, 0].tolist() == x[0, 0, 4:8].tolist()
wrong = x.view(8, 3, 6, 4)
assert wrong.shape == heads.shape and not torch.equal(wrong, heads)

# %% [markdown]
# In the other direction `view` cannot join the 3 heads of 4, because they no longer lie next to each
# other in memory: the tokens stand between them in the order of the dimensions. Transpose first, or
# copy.

# %%
try:
    heads.view(8, 6, 12)
    raise AssertionError("no strides can describe this")
except RuntimeError:
    print("view refuses")
assert torch.equal(heads.transpose(1, 2).reshape(8, 6, 12), x)

# %% [markdown]
# ## 3. Broadcasting starts at the right
# (3, 4) and (3): the 4 meets the 3. As a column, (3, 1), each of the three numbers is repeated along
# its row.

# %%
try:
    torch.zeros(3, 4) + torch.zeros(3)
    raise AssertionError("4 and 3 must be refused")
except RuntimeError:
    print("4 and 3 do not fit")
per_row = torch.zeros(3, 4) + torch.tensor([1.0, 2.0, 3.0]).unsqueeze(1)  # (3, 4) + (3, 1)
print(per_row)
assert per_row[:, 0].tolist() == [1.0, 2.0, 3.0] and per_row[2].tolist() == [3.0] * 4
