# ---
# jupyter:
#   jupytext:
#     text_representation: {extension: .py, format_name: percent}
# ---

# %% [markdown]
# # 4. Sliding windows: a text as its own teacher
#
# **Question.** A model must learn to predict the next token. Who tells it the right answers?
#
# **For example.** From the tokens 5 8 2 9 with T = 3: input (5, 8, 2), target (8, 2, 9). Three predictions
# from four tokens.
#
# **Answer.** The text. Take T tokens as the input; the target is the same window shifted by one. So a
# window holds T predictions: after its first token, after its first two, and so on. How far the window
# moves each time, the *stride*, decides how often each token is used.
#
# **You need.** Lesson 1.

# %%
import matplotlib.pyplot as plt

import tinygrad_llm as torch
from tinygrad_llm.data import corpora
from tinygrad_llm.study.lesson import get_or_explain, save_plot
from tinygrad_llm.text import BPETokenizer
from tinygrad_llm.utils.data import DataLoader, Dataset

corpus = get_or_explain(
    lambda: corpora.load("the-verdict"), "we read a part of Python's own manual; the numbers will differ."
) or corpora.load()
tokenizer = BPETokenizer.train(corpus.text[:20_479], vocab_size=1000)
ids = tokenizer.encode(corpus.text[:20_479])
print(f"{len(ids):,} tokens")

# %% [markdown]
# ## By hand
# One window of six tokens, and the six predictions in it:

# %%
T = 6
start = next(i for i in range(40, 400) if tokenizer.decode(ids[i]) == " the")
inputs, targets = ids[start : start + T], ids[start + 1 : start + T + 1]
for t in range(T):
    print(f"{tokenizer.decode(inputs[: t + 1])!r:34} -> {tokenizer.decode(targets[t])!r}")
assert inputs[1:] == targets[:-1]


def windows(ids, T, stride):
    return [(ids[i : i + T], ids[i + 1 : i + T + 1]) for i in range(0, len(ids) - T, stride)]


numbers = list(range(12))
for stride in (1, 2, 4):
    print(f"stride {stride}:", [x for x, _ in windows(numbers, 4, stride)])
assert windows(numbers, 4, 4)[-1] == ([4, 5, 6, 7], [5, 6, 7, 8])

# %% [markdown]
# With stride T no token is predicted twice. The end of the text, too short for a window, is left out: here
# 8 of 11 predictions are made.
#
# ## With the package: a data set and a loader
# The data set is a class that we write, with two methods; the loader batches and shuffles.

# %%
class Windows(Dataset):
    def __init__(self, ids, T, stride):
        self.ids, self.T, self.stride = torch.tensor(ids), T, stride  # (N)

    def __len__(self):
        return max(0, (len(self.ids) - self.T - 1) // self.stride + 1)

    def __getitem__(self, i):
        at = i * self.stride
        return self.ids[at : at + self.T], self.ids[at + 1 : at + self.T + 1]  # (T), (T)


data = Windows(ids, T=8, stride=8)
assert len(data) == len(windows(ids, 8, 8))
assert data[5][1].tolist() == windows(ids, 8, 8)[5][1]
torch.manual_seed(123)
loader = DataLoader(data, batch_size=4, shuffle=True, drop_last=True)
x, y = next(iter(loader))
print("a batch: inputs", x.shape, " targets", y.shape)
print(x)
print(repr(tokenizer.decode(x[0].tolist())), "->", repr(tokenizer.decode(y[0, -1].item())))
assert x.shape == y.shape == (4, 8) and torch.equal(x[:, 1:], y[:, :-1])

# %% [markdown]
# For long runs the package has `training.TokenBatches`: an endless stream of such batches. Its windows do
# not overlap and begin at a different place in each epoch, and it can be stopped and resumed at any batch.

# %% tags=["package"]
from tinygrad_llm.training import TokenBatches

stream = TokenBatches(ids, batch_size=4, context_length=8, seed=1)
x, y = next(iter(stream))
print("TokenBatches: shapes", x.shape, y.shape, f"  {len(stream)} batches per epoch")
assert torch.equal(x[:, 1:], y[:, :-1])

# %% [markdown]
# ## What the stride does
# Count how often each token is a target. A small stride makes more batches out of the same text. They are
# not new text: the model sees every token several times per epoch and memorises it sooner. What differs is
# how much it sees before a token: with stride T the first token of a window is always predicted from one
# token alone.

# %%
T = 16
figure, axes = plt.subplots(1, 2, figsize=(9.5, 3.6))
for stride in (16, 8, 4):
    used = torch.zeros(100)
    for _, y in windows(list(range(100)), T, stride):
        used[torch.tensor(y)] += 1
    axes[0].step(range(100), used.tolist(), where="mid", label=f"stride {stride}")
    print(f"stride {stride:2}: {len(windows(ids, T, stride)):5} windows; "
          f"a token in the middle is a target {int(used[50])} times")
    assert used[50] == T // stride
axes[0].set_xlabel("token of a text of 100"), axes[0].set_ylabel("times a target"), axes[0].legend(loc="lower center")
image = torch.zeros(6, 40)
for row, (x, _) in enumerate(windows(list(range(40)), T, 4)[:6]):
    image[row, torch.tensor(x)] = 1
    image[row, x[-1] + 1] = 2
axes[1].imshow(image.numpy(), cmap="Blues", aspect="auto")
axes[1].set_xlabel("token"), axes[1].set_ylabel("window")
axes[1].set_title("stride 4 (dark: the last target)", fontsize=10)
save_plot(figure, "04_windows")

# %% [markdown]
# ## Exercises
# 1. How many windows are there for N tokens, length T and stride S? Check your formula on many cases.
# 2. With stride T, how many tokens of a text are never a target? Which are they?
# 3. Make a loader with windows of 4 tokens, stride 4 and batches of 8, without shuffling. Show that all
#    inputs in their order are the text again.
#
# Solutions: `lessons/solutions/02_text/04_windows.py`
