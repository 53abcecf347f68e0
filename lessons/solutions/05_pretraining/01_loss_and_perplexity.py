# ---
# jupyter:
#   jupytext:
#     text_representation: {extension: .py, format_name: percent}
# ---

# %% [markdown]
# # Solutions: the loss of a guess, and perplexity

# %%
import math

import tinygrad_llm as torch
import tinygrad_llm.nn.functional as F
from tinygrad_llm.data import corpora
from tinygrad_llm.text import BPETokenizer

text = corpora.load("the-verdict").text


def split(vocab_size):
    """(tokenizer, training ids, validation ids): both cut at the same character."""
    tokenizer = BPETokenizer.train(text, vocab_size)
    cut = int(0.9 * len(text))
    return tokenizer, *(torch.tensor(tokenizer.encode(part)) for part in (text[:cut], text[cut:]))


def best_table(train, val, V, steps=60):
    """The lowest validation loss of a table of scores that learns from `train`."""
    torch.manual_seed(123)
    table = torch.zeros(V, V, requires_grad=True)
    optimizer = torch.optim.AdamW([table], lr=0.05, weight_decay=0.0)
    best = math.inf
    for _ in range(steps):
        loss = F.cross_entropy(table[train[:-1]], train[1:])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        with torch.no_grad():
            best = min(best, F.cross_entropy(table[val[:-1]], val[1:]).item())
    return best


# %% [markdown]
# ## 1. Bits per byte

# %%
losses_of = {}
n_bytes = len(text[int(0.9 * len(text)) :].encode())
for V in (300, 512, 700):
    tokenizer, train, val = split(V)
    loss = best_table(train, val, V)
    losses_of[V] = loss, loss * (len(val) - 1) / (math.log(2) * n_bytes)
    print(f"{V} tokens: loss {losses_of[V][0]:.3f} nats per token, {losses_of[V][1]:.3f} bits per byte")
losses, bits = [a for a, _ in losses_of.values()], [b for _, b in losses_of.values()]
assert losses == sorted(losses)  # fewer tokens always look better ...
assert min(bits) < bits[0]  # ... but a byte is cheaper with longer tokens

# %% [markdown]
# The loss per token is lowest with the smallest vocabulary, simply because each token says less. Per
# byte it is the other way round: a longer token replaces several guesses.
#
# ## 2. Targets of −100
# They do not count: the mean is taken over the others. If none is left, the mean is 0/0.

# %%
logits = torch.randn(4, 5, requires_grad=True)
some = F.cross_entropy(logits, torch.tensor([1, -100, 3, -100]))
some.backward()
assert torch.allclose(some, F.cross_entropy(logits[::2], torch.tensor([1, 3])))
assert logits.grad[1].abs().sum().item() == 0.0  # and they get no gradient
none = F.cross_entropy(logits.detach(), torch.full((4,), -100))
print("all targets −100:", none.item())
assert math.isnan(none.item())

# %% [markdown]
# ## 3. Add one to every count

# %%
V = 512
tokenizer, train, val = split(V)
counts = torch.bincount(train[:-1] * V + train[1:], minlength=V * V).view(V, V)  # (V, V)


def smoothed(extra):
    p = (counts + extra) / (counts.sum(dim=1, keepdim=True) + extra * V)  # (V, V), rows sum to 1
    return -torch.log(p[val[:-1], val[1:]]).mean().item()


trained = losses_of[V][0]
for extra in (1.0, 0.1, 0.01):
    print(f"every count + {extra}: {smoothed(extra):.3f}   (the table, stopped at its best: {trained:.3f})")
assert not math.isfinite(smoothed(0.0))  # a pair that was never seen, or a token: ∞ or 0/0
assert smoothed(1.0) > trained

# %% [markdown]
# One is far too much here: most rows have only a few counts, and 512 added counts outweigh them.
# Stopping the training early is a form of smoothing too, and a gentler one.
