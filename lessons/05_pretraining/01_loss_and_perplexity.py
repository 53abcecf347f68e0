# ---
# jupyter:
#   jupytext:
#     text_representation: {extension: .py, format_name: percent}
# ---

# %% [markdown]
# # 1. The loss of a guess, and perplexity
#
# **Question.** A language model gives every possible next token a score. How do we turn "that was a
# good guess" into one number?
#
# **For example.** The model gives the right token the probability 0.5: the loss is 0.69. With 0.01 it is 4.6.
# Half a chance costs little, a surprise much.
#
# Scores become probabilities (softmax). Then we look at one probability only, that of the token that
# really came next, and take its negative logarithm:
#
#     loss = −ln p(the true next token)           0 if the model was sure and right, large if it was not
#     perplexity = e^loss                         "as unsure as among so many equally likely tokens"
#
# **You need.** Chapter 04; ln and e.

# %%
import math

import matplotlib.pyplot as plt

import tinygrad_llm as torch
import tinygrad_llm.nn as nn
import tinygrad_llm.nn.functional as F
from tinygrad_llm.data import corpora
from tinygrad_llm.study.lesson import save_plot
from tinygrad_llm.text import BPETokenizer

# %% [markdown]
# ## By hand, step by step
# A vocabulary of six words, two texts of three tokens each. The targets are the inputs shifted by one
# place: after `rain` comes `falls`, and so on.

# %%
words = ["rain", "falls", "on", "the", "sea", "."]
inputs = torch.tensor([[0, 1, 2], [3, 4, 1]])  # rain falls on | the sea falls
targets = torch.tensor([[1, 2, 3], [4, 1, 5]])  # falls on the | sea falls .

torch.manual_seed(123)
logits = torch.randn(2, 3, 6)  # (B, T, V): what an untrained model might say
probabilities = torch.softmax(logits, dim=-1)  # (B, T, V), each row sums to 1
print("logits", tuple(logits.shape), " targets", tuple(targets.shape))

# Of each row the probability of the target alone:
p_target = probabilities.gather(-1, targets.unsqueeze(-1)).squeeze(-1)  # (B, T, V) -> (B, T)
for b in range(2):
    for t in range(3):
        word, next_word = words[int(inputs[b, t])], words[int(targets[b, t])]
        print(f"  after {word:5} comes {next_word:5}  p = {p_target[b, t].item():.4f}")

log_p = torch.log(p_target)  # (B, T)
loss = -log_p.mean()  # one number
print(f"loss = {loss.item():.4f}, perplexity = {torch.exp(loss).item():.2f} of {len(words)} words")

# %% [markdown]
# Why the logarithm? The probability of a whole text is the *product* of its tokens' probabilities, and a
# product of many small numbers is 0 in float32. The logarithm makes it a sum:

# %%
long_text = torch.full((60,), 0.1)  # sixty guesses, each with probability 0.1
print("product:", torch.prod(long_text).item(), "  mean −ln p:", -torch.log(long_text).mean().item())
assert torch.prod(long_text).item() == 0.0  # 1e-60 is too small
assert abs(-torch.log(long_text).mean().item() - math.log(10)) < 1e-5  # and so perplexity 10

# %% [markdown]
# ## With the package
# `cross_entropy` does all of it in one stable step. It expects one row of scores per guess, so batch
# and time become one axis.

# %%
flat_logits, flat_targets = logits.flatten(0, 1), targets.flatten()  # (B·T, V), (B·T)
one_step = F.cross_entropy(flat_logits, flat_targets)
print("cross_entropy of", tuple(flat_logits.shape), tuple(flat_targets.shape), "=", f"{one_step.item():.4f}")
assert torch.allclose(one_step, loss)

# %% [markdown]
# A model that knows nothing gives every token the same probability 1/V. Its loss is ln V and its
# perplexity V. **Every training should begin near ln V.** If it begins higher, something is wrong.

# %%
knows_nothing = F.cross_entropy(torch.zeros(6, 6), flat_targets)
assert abs(knows_nothing.item() - math.log(6)) < 1e-6
print(f"all scores equal: loss {knows_nothing.item():.4f} = ln 6, perplexity {knows_nothing.exp().item():.2f}")

# %% [markdown]
# ## A real text and a small model of our own
# Edith Wharton's story "The Verdict", with a vocabulary of 512 tokens. We keep the last tenth for
# *validation*: the model never trains on it. Our model is the smallest that can learn: a table with one
# row of scores for each token. It looks at the last token only (a "bigram" model).

# %%
text = corpora.load("the-verdict").text
tokenizer = BPETokenizer.train(text, 512)
ids = torch.tensor(tokenizer.encode(text))  # (N)
V, cut = tokenizer.vocab_size, int(0.9 * len(ids))
train, val = ids[:cut], ids[cut:]
print(f"{len(text):,} characters, {len(ids):,} tokens: {len(train):,} for training, {len(val)} for validation")


class Bigram(nn.Module):
    """Scores for the next token from the last token alone: row `token` of a table."""

    def __init__(self, vocab_size):
        super().__init__()
        self.table = nn.Embedding(vocab_size, vocab_size)

    def forward(self, idx):
        return self.table(idx)  # (N) -> (N, V)


def loss_of(model, row):
    return F.cross_entropy(model(row[:-1]), row[1:])


torch.manual_seed(123)
model = Bigram(V)
with torch.no_grad():
    model.table.weight.mul_(0.02)  # almost equal scores
    start = loss_of(model, train).item()
print(f"before training: loss {start:.3f}, ln V = {math.log(V):.3f}")
assert abs(start - math.log(V)) < 0.01

optimizer = torch.optim.AdamW(model.parameters(), lr=0.05, weight_decay=0.0)
curve = []
for step in range(120):
    loss = loss_of(model, train)
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
    with torch.no_grad():
        curve.append((loss.item(), loss_of(model, val).item()))
    if step % 20 == 19:
        print(f"step {step + 1:3}: training loss {curve[-1][0]:.3f}, validation {curve[-1][1]:.3f}")
final_train, final_val = curve[-1]
best_val = min(v for _, v in curve)

# %% [markdown]
# What is the lowest training loss that a table can have at all? It is reached when the table says
# exactly how often each token followed each other one. Counting gives that table without any training:

# %%
pairs = torch.bincount(train[:-1] * V + train[1:], minlength=V * V).view(V, V)  # (V, V)
after = pairs.sum(dim=1)  # (V): how often each token was followed by something
p_pair = pairs[train[:-1], train[1:]] / after[train[:-1]]  # (N - 1)
floor = -torch.log(p_pair).mean().item()
print(f"counted: {floor:.3f}   trained: {final_train:.3f}   (gradient descent finds what counting finds)")
assert floor <= final_train < floor + 0.25

# %% [markdown]
# Look at the validation loss: it was lowest early on, and then it went *up*. The table learned pairs
# that occur in the training part only by chance. The next lessons try to close that gap.

# %%
assert final_val > best_val
print(f"perplexity: {math.exp(best_val):.0f} at best on the validation text, {V} for a model that knows nothing")

figure, axis = plt.subplots(figsize=(7, 4.2))
axis.plot([a for a, _ in curve], label="training")
axis.plot([b for _, b in curve], label="validation")
axis.axhline(math.log(V), c="gray", ls=":")
axis.text(119, math.log(V) - 0.06, "ln V: knows nothing", ha="right", va="top", color="gray")
axis.axhline(floor, c="gray", ls="--")
axis.text(119, floor - 0.06, "counted pairs: no table can be lower", ha="right", va="top", color="gray")
axis.set_ylim(floor - 0.6, max(v for _, v in curve) + 0.3)
axis.set_xlabel("step"), axis.set_ylabel("loss (nats per token)")
perplexity = axis.secondary_yaxis("right", functions=(lambda x: x, lambda x: x))
perplexity.set_yticks([math.log(k) for k in (4, 8, 16, 32, 64, 128, 256, 512)], [4, 8, 16, 32, 64, 128, 256, 512])
perplexity.set_ylabel("perplexity")
axis.legend(loc="lower left")
save_plot(figure, "01_loss_and_perplexity")

# %% [markdown]
# ## Break it
# Forget to shift the targets by one place: let the model "predict" the token that it is looking at. The
# loss falls to almost nothing, and the model is useless. **A loss that is too good is a mistake.**

# %%
torch.manual_seed(123)
cheat = Bigram(V)
optimizer = torch.optim.AdamW(cheat.parameters(), lr=0.05, weight_decay=0.0)
for _ in range(120):
    loss = F.cross_entropy(cheat(train), train)  # the same token: not shifted
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
with torch.no_grad():
    honest = loss_of(cheat, val).item()
print(f"not shifted: 'loss' {loss.item():.3f};  at its real task: {honest:.2f} (ln V is {math.log(V):.2f})")
assert loss.item() < 0.2 and honest > math.log(V)

# %% [markdown]
# ## Exercises
# 1. Losses of different tokenizers cannot be compared: a character is easier to guess than a word. Bits
#    per byte can: loss · tokens / (ln 2 · bytes). Compute them for the bigram table with 300, 512 and
#    700 tokens on the validation text. Which vocabulary has the lowest loss, and which the fewest bits
#    per byte?
# 2. What happens to `cross_entropy` if some targets are −100, and what if all are?
# 3. A pair that was never seen has p = 0 and loss ∞. Add 1 to every count ("Laplace smoothing") and
#    compute the loss on the validation text. Is it better than the trained table at its best?
#
# Solutions: `lessons/solutions/05_pretraining/01_loss_and_perplexity.py`.
