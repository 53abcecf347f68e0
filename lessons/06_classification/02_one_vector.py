# ---
# jupyter:
#   jupytext:
#     text_representation: {extension: .py, format_name: percent}
# ---

# %% [markdown]
# # 2. One vector for a whole text
#
# **Question.** A GPT computes one vector for every token. A classifier needs one for the whole text. Which one?
#
# **For example.** "win a prize" as three tokens: the first vector has seen "win", the second "win a", the
# third all of it. So the third one is read.
#
# **Answer.** With the causal mask each token sees the tokens before it. So the first vector knows one token
# only, and the last knows all of them: take the **last**. And take the last *real* one, not the padding after
# it. A new output layer reads it, with one row per class instead of one per token.
#
# **You need.** Chapter 03, lesson 3; lesson 1.

# %%
import matplotlib.pyplot as plt

import tinygrad_llm as tl
import tinygrad_llm.nn.functional as F
from tinygrad_llm import nn
from tinygrad_llm.finetune import GPTClassifier, count_parameters, train_only
from tinygrad_llm.models import GPT
from tinygrad_llm.study.lesson import save_plot

PAD = 299
tl.manual_seed(123)
gpt = GPT(dict(vocab_size=300, context_length=16, emb_dim=64, n_heads=4, n_layers=2, drop_rate=0.0)).eval()
with tl.no_grad():
    for name, p in gpt.named_parameters():  # larger weights, so that attention looks at something
        if name.endswith("weight") and "norm" not in name:
            p.mul_(8.0)

# %% [markdown]
# ## By hand: who knows what?
# Change one token and see which of the ten vectors change.

# %%
text = tl.randint(0, 299, (1, 10))  # (B, T)


def vectors(idx):
    with tl.no_grad():
        return gpt.hidden_states(idx)[0]  # (1, T, C) -> (T, C)


base = vectors(text)
print("ids", tuple(text.shape), " vectors", tuple(base.shape))
moved = tl.zeros(10, 10)  # row: the token that was changed; column: the vector that moved
for i in range(10):
    changed = text.clone()
    changed[0, i] = (changed[0, i] + 1) % 299
    moved[i] = (vectors(changed) - base).norm(dim=1)
knows = (moved > 1e-6).sum(dim=0).tolist()  # (10): how many tokens each vector has seen
print("number of tokens that each vector has seen:", knows)
assert knows == list(range(1, 11))

# %% [markdown]
# ## By hand: padding changes the last place
# The same message, padded to 12 and to 16 places. The vector at the last place is different. The vector of the
# last *real* token is the same: what comes after it cannot reach it.

# %%
def padded(idx, T):
    return tl.cat([idx, tl.full((1, T - idx.shape[1]), PAD)], dim=1)  # (1, T)


twelve, sixteen = vectors(padded(text, 12)), vectors(padded(text, 16))
at_last_place = (twelve[-1] - sixteen[-1]).norm().item()
at_last_real = (twelve[9] - sixteen[9]).norm().item()
print(f"12 or 16 places: the last place differs by {at_last_place:.2f}, the last real token by {at_last_real:.1e}")
assert at_last_place > 0.1 and at_last_real < 1e-4

# %% [markdown]
# ## By hand: a classifier of our own

# %%
class Classifier(nn.Module):
    def __init__(self, gpt, n_classes):
        super().__init__()
        self.gpt = gpt
        self.head = nn.Linear(gpt.config.emb_dim, n_classes)

    def forward(self, idx):
        lengths = (idx != PAD).sum(dim=1)  # (B): real tokens in each row
        hidden = self.gpt.hidden_states(idx)  # (B, T, C)
        last = hidden[tl.arange(len(idx)), lengths - 1]  # (B, C)
        return self.head(last)  # (B, K)


tl.manual_seed(7)
classifier = Classifier(gpt, 2).eval()
batch = tl.cat([padded(text, 16), padded(text[:, :6], 16)])  # (2, T)
logits = classifier(batch)
print("logits", tuple(logits.shape), " predicted", logits.argmax(dim=-1).tolist())

# %% [markdown]
# The loss and the accuracy of a batch. The loss has a gradient, so we can train with it; the accuracy changes
# in jumps, but it is what we care about.

# %%
labels = tl.tensor([1, 0])
loss = F.cross_entropy(logits, labels)
accuracy = (logits.argmax(dim=-1) == labels).float().mean().item()
print(f"loss {loss.item():.3f} (ln 2 = 0.693 for a uniform guess), accuracy {accuracy:.0%}")

# %% [markdown]
# ## With the package
# `GPTClassifier.from_gpt` copies the GPT (its attribute `model`) and draws a new head; `pool` says which vector to
# take.

# %%
tl.manual_seed(7)
model = GPTClassifier.from_gpt(gpt, n_classes=2, pool="last_real", pad_token_id=PAD).eval()
assert tl.allclose(model(batch), logits, atol=1e-5)
for pool in ("last", "last_real", "first", "mean"):
    tl.manual_seed(7)
    other = GPTClassifier.from_gpt(gpt, n_classes=2, pool=pool, pad_token_id=PAD).eval()
    with tl.no_grad():
        print(f"pool={pool!r:12} logits {[round(x, 2) for x in other(batch)[0].tolist()]}")

# %% [markdown]
# Which weights should learn? A pretrained model knows its language. Often it is enough to train the head, the
# last norm and the last block; all others stay as they are.

# %%
everything = count_parameters(model)["trainable"]
train_only(model, ["out_head", "final_norm", "trf_blocks.1"])
chosen = count_parameters(model)["trainable"]
print(f"trained: {chosen:,} of {everything:,} parameters")
model.loss(batch, labels).backward()
blocks = model.model.trf_blocks
assert model.model.tok_emb.weight.grad is None and blocks[0].ff.layers[0].weight.grad is None
assert blocks[1].ff.layers[0].weight.grad is not None

figure, (left, right) = plt.subplots(1, 2, figsize=(10, 4.2))
image = left.imshow(moved.numpy(), cmap="Blues")
left.set_xlabel("vector at place"), left.set_ylabel("changed token"), left.set_title("which vectors change with a token?")
figure.colorbar(image, ax=left, label="how far the vector moved")
lengths = range(10, 17)
right.plot(lengths, [(vectors(padded(text, n))[-1] - base[9]).norm().item() for n in lengths], "o-", label="last place")
right.plot(lengths, [(vectors(padded(text, n))[9] - base[9]).norm().item() for n in lengths], "s-", label="last real token")
right.set_xlabel("places in all (10 of them are real)"), right.set_ylabel("distance from the vector without padding")
right.legend()
save_plot(figure, "02_one_vector")

# %% [markdown]
# ## Exercises
# 1. Without the causal mask (`causal=False`) every token sees all others. Show that then the first vector knows
#    the last token, and that padding still changes nothing.
# 2. Before training the accuracy is about one half, but not exactly. How far from one half may it be by chance
#    for 300 balanced messages?
# 3. Write the mean over the real tokens by hand, and compare with `pool="mean"`.
#
# Solutions: `lessons/solutions/06_classification/02_one_vector.py`
