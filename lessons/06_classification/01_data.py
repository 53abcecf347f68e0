# ---
# jupyter:
#   jupytext:
#     text_representation: {extension: .py, format_name: percent}
# ---

# %% [markdown]
# # 1. Messages become a data set
#
# **Question.** 5,572 text messages, 747 of them spam. What must be done before a model can learn from them?
#
# **For example.** Of 100 messages 13 are spam. A program that always says "ham" is right 87 times, and
# useless.
#
# **Answer.** Three things, none of them about the model:
#
#     balance     as many ham as spam messages: otherwise "never spam" is right in 87 % of all cases
#     split       70 % for training, 10 % for validation while training, 20 % for one final test
#     pad         a batch is a rectangle: short messages are padded, long ones cut
#
# **You need.** Chapter 02, lesson 1.

# %%
import matplotlib.pyplot as plt
import numpy as np

import tinygrad_llm as torch
from tinygrad_llm.finetune import read_sms_spam
from tinygrad_llm.study.lesson import save_plot
from tinygrad_llm.text import BPETokenizer
from tinygrad_llm.utils.data import DataLoader, Dataset

rows = read_sms_spam()  # (message, label) pairs; label 1 is spam
spam = [row for row in rows if row[1] == 1]
ham = [row for row in rows if row[1] == 0]
print(f"{len(rows):,} messages: {len(ham):,} ham, {len(spam)} spam")
for message, label in (ham[3], spam[0]):
    print(f"  {label}  {message[:90]}")
print(f"always saying 'ham' would be right in {len(ham) / len(rows):.0%}")
assert (len(ham), len(spam)) == (4825, 747)

# %% [markdown]
# ## By hand: balance and split
# We draw 747 of the ham messages. We use NumPy's old generator with seed 123, which draws the same messages
# as pandas' `df.sample(747, random_state=123)` in other people's programs.

# %%
def draw(rows, n):
    order = np.random.RandomState(123).permutation(len(rows))[:n]
    return [rows[i] for i in order]


balanced = draw(ham, len(spam)) + spam
shuffled = draw(balanced, len(balanced))
first, second = int(0.7 * len(shuffled)), int(0.7 * len(shuffled)) + int(0.1 * len(shuffled))
train, validation, test = shuffled[:first], shuffled[first:second], shuffled[second:]
print("training, validation, test:", len(train), len(validation), len(test))
print("share of spam:", [round(sum(label for _, label in part) / len(part), 2) for part in (train, validation, test)])
assert (len(train), len(validation), len(test)) == (1045, 149, 300)

# %% [markdown]
# ## By hand: padding
# Tokens first. The tokenizer learns from the *training* messages only: the test messages must stay unknown
# until the test.

# %%
tokenizer = BPETokenizer.train([message for message, _ in train], 512)
PAD = tokenizer.encode("<|endoftext|>", allowed_special={"<|endoftext|>"})[0]
lengths = [len(tokenizer.encode(message)) for message, _ in train]
longest = max(lengths)
print(f"tokens in a message: from {min(lengths)} to {longest}, half of them below {sorted(lengths)[len(lengths) // 2]}")


class Messages(Dataset):
    """Example i is (ids (T), label ()): all messages have the same length."""

    def __init__(self, rows, T):
        self.ids = torch.full((len(rows), T), PAD)  # (N, T)
        self.labels = torch.tensor([label for _, label in rows])  # (N)
        for i, (message, _) in enumerate(rows):
            ids = tokenizer.encode(message)[:T]
            self.ids[i, : len(ids)] = torch.tensor(ids)

    def __len__(self):
        return len(self.labels)

    def __getitem__(self, i):
        return self.ids[i], self.labels[i]


T = 100
data = Messages(train, T)
torch.manual_seed(123)
ids, labels = next(iter(DataLoader(data, batch_size=8, shuffle=True, drop_last=True)))
print("a batch: ids", tuple(ids.shape), " labels", tuple(labels.shape), labels.tolist())
print("the first message:", repr(tokenizer.decode([t for t in ids[0].tolist() if t != PAD])[:70]))
assert tuple(ids.shape) == (8, T)

padding = (data.ids == PAD).float().mean().item()
cut = sum(n > T for n in lengths) / len(lengths)
print(f"with T = {T}: {padding:.0%} of all places are padding, {cut:.1%} of the messages lose their end")

# %% [markdown]
# ## With the package

# %% tags=["package"]
from tinygrad_llm.finetune import TextClassificationDataset, sms_spam_splits

assert sms_spam_splits() == (train, validation, test)  # the same messages in the same order
packaged = TextClassificationDataset(train, tokenizer, max_length=T, pad_token_id=PAD)
assert np.array_equal(packaged.ids, data.ids.numpy())
print("the package makes the same rectangle:", packaged.ids.shape)

# %%
choices = list(range(20, longest + 1, 10))
share_cut = [sum(n > t for n in lengths) / len(lengths) for t in choices]
share_pad = [sum(max(0, t - n) for n in lengths) / (t * len(lengths)) for t in choices]
figure, (left, right) = plt.subplots(1, 2, figsize=(10, 4))
for name, label in (("ham", 0), ("spam", 1)):
    left.hist([n for n, (_, y) in zip(lengths, train) if y == label], range(0, longest + 10, 10), alpha=0.6, label=name)
left.set_xlabel("tokens in a message"), left.set_ylabel("messages"), left.legend()
right.plot(choices, share_cut, label="messages that are cut"), right.plot(choices, share_pad, label="places that are padding")
right.set_xlabel("T"), right.set_ylim(0, 1), right.legend()
save_plot(figure, "01_data")

# %% [markdown]
# Look at the left picture: spam is longer. A rule without any model, "more than so many tokens is spam", is
# a baseline that every model must beat:

# %%
best = max((sum((n > t) == (y == 1) for n, (_, y) in zip(lengths, train)) / len(train), t) for t in range(1, longest))
test_lengths = [(len(tokenizer.encode(message)), label) for message, label in test]
baseline = sum((n > best[1]) == (y == 1) for n, y in test_lengths) / len(test)
print(f"'more than {best[1]} tokens is spam': {best[0]:.1%} of the training messages, {baseline:.1%} of the test")
assert baseline > 0.75

# %% [markdown]
# ## Exercises
# 1. Train a classifier that sees only *which* tokens are in a message, not their order ("bag of words"): the
#    mean of one number per token, trained with cross-entropy. How good is it on the test messages?
# 2. The same message twice, once in training and once in the test: how many test messages are copies of
#    training messages? Does that make the test too easy?
# 3. Instead of balancing the data, we could weight the loss: `F.cross_entropy(..., weight=...)`. Which
#    weights give ham and spam the same influence?
#
# Solutions: `lessons/solutions/06_classification/01_data.py`
