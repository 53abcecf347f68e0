# ---
# jupyter:
#   jupytext:
#     text_representation: {extension: .py, format_name: percent}
# ---

# %% [markdown]
# # 1. What a tensor is
#
# **Question.** A table has rows and columns, but a computer's memory is one long row of numbers.
# Where is the table?
#
# **For example.** A table of 2 rows with 3 numbers is stored as six numbers in a row. The number in row 1,
# column 2 is at place 1·3 + 2 = 5.
#
# **Answer.** In two short lists that are stored with the numbers. The *shape* says how many elements
# there are along each dimension. The *strides* say how many places to move in memory to reach the next
# element along each dimension:
#
#     place of t[i, j]  =  i·stride₀ + j·stride₁
#
# Transposing a table then moves no number at all: it swaps two strides.
#
# **You need.** Python.

# %%
import matplotlib.pyplot as plt

import tinygrad_llm as torch
from tinygrad_llm.study.lesson import save_plot

# %% [markdown]
# ## By hand
# The temperatures of three days, four times a day, as one row of twelve numbers.

# %%
class Table:
    """A flat list, a shape, and strides: a tensor of two dimensions."""

    def __init__(self, numbers, shape, strides=None):
        self.numbers, self.shape = numbers, shape
        self.strides = strides or (shape[1], 1)  # one row after the other

    def __getitem__(self, place):
        i, j = place
        return self.numbers[i * self.strides[0] + j * self.strides[1]]

    def transposed(self):
        return Table(self.numbers, self.shape[::-1], self.strides[::-1])

    def rows(self):
        return [[self[i, j] for j in range(self.shape[1])] for i in range(self.shape[0])]


celsius = [4, 9, 12, 7, 3, 10, 14, 8, 5, 11, 15, 9]
table = Table(celsius, (3, 4))
print("3 days of 4:", table.rows())
print("4 times of day, 3 days each:", table.transposed().rows())
assert table[1, 2] == table.transposed()[2, 1] == 14

# %% [markdown]
# Both tables read the same twelve numbers. So a change in one is a change in the other: they are two
# *views* of the same memory.

# %%
celsius[6] = 20
assert table[1, 2] == table.transposed()[2, 1] == 20

# %% [markdown]
# ## With the package
# A tensor has the same two lists, and a *dtype*: the type of its numbers. Python's integers become
# `int64` and its floats `float32`, which needs half the memory of a Python float and is exact to about
# seven digits.

# %%
t = torch.tensor([[4, 9, 12, 7], [3, 10, 14, 8], [5, 11, 15, 9]])
print(t)
print("shape", t.shape, " strides", t.stride(), " dtype", t.dtype)
print("transposed: shape", t.T.shape, " strides", t.T.stride())
assert t.T.stride() == table.transposed().strides
assert t.T.data_ptr() == t.data_ptr()  # the same address: nothing was copied

# %%
t.T[2, 1] = 20
print("a change through the transposed tensor:", t[1].tolist())
assert t[1, 2] == 20

# %% [markdown]
# `view` gives the same numbers another shape. It is only possible if some strides describe the result.
# Reading the transposed table row by row jumps back and forth in memory, and no strides describe that.
# In such a case `reshape` copies the numbers.

# %%
print("t.view(2, 6):", t.view(2, 6).tolist())  # (3, 4) -> (2, 6)
try:
    t.T.view(12)
except RuntimeError:
    print("t.T.view(12): no strides can describe this")
row = t.T.reshape(12)  # (4, 3) -> (12)
assert row.data_ptr() != t.data_ptr()
print("t.T.reshape(12):", row.tolist())

# %% [markdown]
# ## Three operations that everything else is made of
# **Element by element.** Shapes must be equal, or *broadcast*: a dimension of size 1, or a missing one
# on the left, is repeated as often as needed. (By strides again: a stride of 0 reads the same number.)

# %%
celsius = t.float()  # int64 -> float32
mean_of_day = celsius.mean(dim=1, keepdim=True)  # (3, 4) -> (3, 1)
difference = celsius - mean_of_day  # (3, 4) - (3, 1) -> (3, 4)
print(difference)
repeated = mean_of_day.expand(3, 4)
print("the means, repeated: strides", repeated.stride())
assert repeated.stride()[1] == 0
assert torch.allclose(difference.sum(dim=1), torch.zeros(3), atol=1e-5)

# %% [markdown]
# **Reduction.** `dim` names the dimension that is *removed*.

# %%
print("means over the times of a day:", celsius.mean(dim=1), celsius.mean(dim=1).shape)
print("means over the days:", celsius.mean(dim=0), celsius.mean(dim=0).shape)

# %% [markdown]
# **Matrix product.** The inner sizes must be equal and are summed away: (3, 4) @ (4, 2) -> (3, 2). Each
# element is a row times a column, summed. Here: the mean of each day, and its last value minus its
# first.

# %%
weights = torch.tensor([[0.25, -1.0], [0.25, 0.0], [0.25, 0.0], [0.25, 1.0]])  # (4, 2)
product = celsius @ weights  # (3, 4) @ (4, 2) -> (3, 2)
print(product)
for i in range(3):
    for j in range(2):
        by_hand = sum(float(celsius[i, k] * weights[k, j]) for k in range(4))
        assert abs(by_hand - product[i, j].item()) < 1e-5

# %% [markdown]
# Sizes that do not fit raise an error that names them. Read the message: most errors of the first weeks
# are of this kind.

# %%
try:
    celsius @ weights.T
except RuntimeError as error:
    assert "4" in str(error) and "2" in str(error)
    print("(3, 4) @ (2, 4): the inner sizes 4 and 2 differ")

# %% [markdown]
# ## The picture
# On the left each cell shows *where in memory* it is; on the right, the same for the transposed tensor.

# %%
places = torch.arange(12).reshape(3, 4)
figure, axes = plt.subplots(1, 2, figsize=(7.5, 3.4))
for axis, grid, title in ((axes[0], places, "t: strides (4, 1)"), (axes[1], places.T, "t.T: strides (1, 4)")):
    axis.imshow(grid.numpy(), cmap="Blues", vmin=-4, vmax=20)
    for i in range(grid.shape[0]):
        for j in range(grid.shape[1]):
            axis.text(j, i, grid[i, j].item(), ha="center", va="center")
    axis.set_title(title, fontsize=11)
    axis.set_xticks(range(grid.shape[1])), axis.set_yticks(range(grid.shape[0]))
figure.suptitle("The place in memory of each element")
save_plot(figure, "01_tensors")

# %% [markdown]
# ## Exercises
# 1. What are the strides of a tensor of shape (2, 3, 5)? Write a function that returns the strides of
#    any shape, and compare it with `torch.zeros(shape).stride()`.
# 2. A batch of 8 texts of 6 tokens, each a vector of 12 numbers, is to become 3 heads of 4 numbers each:
#    (8, 6, 12) -> (8, 3, 6, 4). Which two steps do it? What are the strides then, and does `view` work?
# 3. `torch.zeros(3, 4) + torch.zeros(3)` fails. Why? How do you add one of the three numbers to each
#    row?
#
# Solutions: `lessons/solutions/01_tensors/01_tensors.py`
