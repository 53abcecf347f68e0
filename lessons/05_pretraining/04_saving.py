# ---
# jupyter:
#   jupytext:
#     text_representation: {extension: .py, format_name: percent}
# ---

# %% [markdown]
# # 4. Saving a run and resuming it
#
# **Question.** The power fails in the middle of a long training. What must be on the disk so that the run
# continues as if nothing had happened?
#
# **For example.** A run of 40 steps, and the same run stopped after 20 and resumed: if everything was saved,
# both end with the same weights to the last bit.
#
# **Answer.** Four things, and the weights are only the first:
#
#     1 the weights                 without them all is lost
#     2 the optimizer's state       AdamW keeps the mean gradient and its mean square for every weight
#     3 the random state            dropout and shuffling continue where they were
#     4 the place in the data       which batches are still to come
#
# Leave one out and the run still continues, only a little wrong, and nobody notices.
#
# **You need.** Lesson 2, chapter 01, lesson 4.

# %%
import tempfile
from pathlib import Path

import matplotlib.pyplot as plt

import tinygrad_llm as torch
import tinygrad_llm.nn as nn
import tinygrad_llm.nn.functional as F
from tinygrad_llm.data import corpora
from tinygrad_llm.study.lesson import save_plot
from tinygrad_llm.text import CharTokenizer

folder = Path(tempfile.mkdtemp())
text = corpora.load("the-verdict").text
tokenizer = CharTokenizer.train(text)
ids = torch.tensor(tokenizer.encode(text))  # (N)

# %% [markdown]
# ## By hand: a small model with dropout
# It predicts the next character from the last eight.

# %%
class LastEight(nn.Module):
    def __init__(self, vocab_size, emb_dim=16, hidden=96):
        super().__init__()
        self.emb = nn.Embedding(vocab_size, emb_dim)
        self.layers = nn.Sequential(
            nn.Linear(8 * emb_dim, hidden), nn.ReLU(), nn.Dropout(0.1), nn.Linear(hidden, vocab_size)
        )

    def forward(self, idx):  # (B, 8)
        return self.layers(self.emb(idx).flatten(1))  # (B, 8, C) -> (B, 8·C) -> (B, V)


def make():
    model = LastEight(tokenizer.vocab_size)
    return model, torch.optim.AdamW(model.parameters(), lr=3e-3)


def train(model, optimizer, steps):
    losses = []
    for _ in range(steps):
        start = torch.randint(0, len(ids) - 8, (64,))  # (B): where each example begins
        window = ids[start.unsqueeze(1) + torch.arange(9)]  # (B, 1) + (9) -> (B, 9)
        loss = F.cross_entropy(model(window[:, :8]), window[:, 8])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    return losses


torch.manual_seed(123)
model, optimizer = make()
before = train(model, optimizer, 160)
print(f"160 steps: loss {before[0]:.3f} -> {sum(before[-20:]) / 20:.3f}")

# %% [markdown]
# Save. A state dict is a dict of names and arrays. The optimizer has one too, with two arrays for each
# weight, so a checkpoint is three times as large as the weights.

# %%
checkpoint = {
    "model": model.state_dict(),
    "optimizer": optimizer.state_dict(),
    "random": torch.get_rng_state(),
}
torch.save(checkpoint, folder / "checkpoint.pth")
torch.save(model.state_dict(), folder / "weights.pth")
n_weights = sum(p.numel() for p in model.parameters())
n_moments = sum(
    value.numel() for state in optimizer.state_dict()["state"].values()
    for name, value in state.items() if name.startswith("exp_avg")
)
for name, value in model.state_dict().items():
    print(f"  {name:16} shape {tuple(value.shape)}")
print(f"{n_weights:,} weights, {n_moments:,} numbers of the optimizer")
assert n_moments == 2 * n_weights

# %% [markdown]
# What would have happened without the power cut:

# %%
uninterrupted = train(model, optimizer, 60)

# %% [markdown]
# Now the process is new: other weights, another random state. Load everything and continue.

# %%
def resume(with_optimizer=True, with_random=True):
    torch.manual_seed(999)  # a new process has another random state
    model, optimizer = make()
    saved = torch.load(folder / "checkpoint.pth", weights_only=True)
    model.load_state_dict(saved["model"])
    if with_optimizer:
        optimizer.load_state_dict(saved["optimizer"])
    if with_random:
        torch.set_rng_state(saved["random"])
    return train(model, optimizer, 60)


resumed = resume()
print(f"uninterrupted: {uninterrupted[0]:.6f} ... {uninterrupted[-1]:.6f}")
print(f"resumed:       {resumed[0]:.6f} ... {resumed[-1]:.6f}")
assert resumed == uninterrupted  # all 60 losses, to the last bit

# %% [markdown]
# ## Break it
# Without the optimizer's state AdamW starts from nothing: its mean squares come from the first gradient
# alone, so the first steps have almost full size in every direction. Watch the second loss and the ones
# after.

# %%
without_optimizer = resume(with_optimizer=False)
without_random = resume(with_random=False)
assert without_optimizer[0] == uninterrupted[0]  # the weights are the same ...
extra = [a - b for a, b in zip(without_optimizer, uninterrupted)]
print(f"without the optimizer's state: the next 10 losses are higher by {sum(extra[1:11]) / 10:.3f} on average")
print(f"without the random state: other batches, first loss {without_random[0]:.3f} instead of {uninterrupted[0]:.3f}")
assert sum(extra[1:11]) / 10 > 0.005  # ... the steps are not
assert without_random[0] != uninterrupted[0]

figure, axis = plt.subplots(figsize=(7, 4))
axis.plot(range(1, 61), extra[:60], label="without the optimizer's state")
axis.plot(range(1, 61), [a - b for a, b in zip(resumed, uninterrupted)][:60], label="everything loaded: exactly 0")
axis.set_xlabel("step after loading"), axis.set_ylabel("loss minus that of the uninterrupted run")
axis.legend()
save_plot(figure, "04_saving")

# %% [markdown]
# ## With the package
# `Trainer` saves all four by itself, and every file is written completely or not at all. Stop it after any
# step, build it again in the same way, and `run(resume=True)` continues,
# equal to the last bit.

# %% tags=["package"]
from tinygrad_llm.models import GPT
from tinygrad_llm.training import TokenBatches, Trainer


def trainer(steps, where):
    torch.manual_seed(123)
    model = GPT(dict(vocab_size=tokenizer.vocab_size, context_length=32, emb_dim=32, n_heads=2, n_layers=1))
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3)
    return Trainer(model, optimizer, TokenBatches(ids, 8, 32), steps=steps, folder=folder / where,
                   checkpoint_every=20, progress=False)


whole = trainer(60, "whole").run(plan=False)
trainer(40, "cut").run(plan=False)  # as if the power had failed after 40 steps
again = trainer(60, "cut").run(resume=True, plan=False)
print(f"60 steps in one run: {whole.loss:.6f};  40, and then 20: {again.loss:.6f}")
assert again.loss == whole.loss
print("a checkpoint holds:", ", ".join(sorted(p.name for p in again.checkpoint.iterdir())))

# %% [markdown]
# ## Exercises
# 1. Load weights into a model with another `hidden`. What does the error say? What does `strict=False`
#    accept, and what not?
# 2. Tied weights: an output layer and an embedding that share one array. How many arrays are in the
#    state dict, are they still shared after loading, and how large is the file?
# 3. A file is cut off in the middle. What does `torch.load` say? How does a program make sure that the old
#    file stays intact while the new one is written?
#
# Solutions: `lessons/solutions/05_pretraining/04_saving.py`
