# ---
# jupyter:
#   jupytext:
#     text_representation: {extension: .py, format_name: percent}
# ---

# %% [markdown]
# # 2. The training loop
#
# **Question.** What exactly happens between a text file and a model that writes like it?
#
# **For example.** After 10 epochs: loss 1.2 on the text that was trained on, 5.9 on another one. The model
# knows the first text by heart and little else.
#
#     cut the text into windows                 inputs (B, T), and targets shifted by one
#     for every batch of windows:
#         forward                               logits, then the loss
#         zero_grad, backward, step             the weights move a little downhill
#     now and then: compute the loss on a validation text
#
# The training loss says how well the model knows *this* text. The loss on the validation text, which it
# never trains on, says what it has learned about language.
#
# **You need.** Lesson 1, chapter 02, lesson 4.

# %%
import math
import time

import matplotlib.pyplot as plt

import tinygrad_llm as torch
import tinygrad_llm.nn as nn
import tinygrad_llm.nn.functional as F
from tinygrad_llm.data import corpora
from tinygrad_llm.study.lesson import full_run, save_plot
from tinygrad_llm.text import BPETokenizer, GPT2Tokenizer
from tinygrad_llm.utils.data import DataLoader, Dataset

full = full_run("the book's chapter 5, GPT-2 small from random weights for 10 epochs: 30 to 60 minutes "
                "on two cores and 4 GB of memory")
text = corpora.load("the-verdict").text
if full:
    tokenizer = GPT2Tokenizer()
    settings = dict(vocab_size=50257, context_length=256, emb_dim=768, n_heads=12, n_layers=12, drop_rate=0.1)
    epochs, batch_size, lr = 10, 2, 4e-4
else:
    tokenizer = BPETokenizer.train(text, 512)
    settings = dict(vocab_size=512, context_length=32, emb_dim=48, n_heads=4, n_layers=2, drop_rate=0.1)
    epochs, batch_size, lr = 8, 8, 3e-3

# %% [markdown]
# ## By hand: windows
# A window is T tokens; its target is the T tokens one place further on. So each window trains T
# predictions: token 2 from 1, token 3 from 1 and 2, and so on.

# %%
T = settings["context_length"]


class Windows(Dataset):
    """Windows of a text's ids that do not overlap: no token is an input twice."""

    def __init__(self, text):
        ids = torch.tensor(tokenizer.encode(text))  # (N)
        self.inputs = [ids[i : i + T] for i in range(0, len(ids) - T, T)]
        self.targets = [ids[i + 1 : i + T + 1] for i in range(0, len(ids) - T, T)]

    def __len__(self):
        return len(self.inputs)

    def __getitem__(self, i):
        return self.inputs[i], self.targets[i]


cut = int(0.9 * len(text))
train_set, val_set = Windows(text[:cut]), Windows(text[cut:])


def loaders():
    return (DataLoader(train_set, batch_size, shuffle=True, drop_last=True),
            DataLoader(val_set, batch_size, shuffle=False))


inputs, targets = next(iter(loaders()[1]))
print(f"{len(train_set)} windows for training, {len(val_set)} for validation; a batch:", tuple(inputs.shape))
print("inputs ", repr(tokenizer.decode(inputs[0, :10].tolist())))
print("targets", repr(tokenizer.decode(targets[0, :10].tolist())))
assert torch.equal(inputs[0, 1:], targets[0, :-1])

# %% [markdown]
# ## By hand: a model of our own
# Chapter 4's GPT in its shortest form. With this order of layers it draws its first weights in the same
# order as the book's class, so with the same seed it *is* the same model.

# %%
class Block(nn.Module):
    def __init__(self, emb_dim, n_heads, drop_rate):
        super().__init__()
        self.n_heads, self.drop_rate = n_heads, drop_rate
        self.qkv = nn.Linear(emb_dim, 3 * emb_dim, bias=False)
        self.out = nn.Linear(emb_dim, emb_dim)
        self.feed_forward = nn.Sequential(
            nn.Linear(emb_dim, 4 * emb_dim), nn.GELU(approximate="tanh"), nn.Linear(4 * emb_dim, emb_dim)
        )
        self.norm1, self.norm2 = nn.LayerNorm(emb_dim), nn.LayerNorm(emb_dim)
        self.drop = nn.Dropout(drop_rate)

    def attention(self, x):
        B, T, C = x.shape
        q, k, v = (
            part.view(B, T, self.n_heads, C // self.n_heads).transpose(1, 2)  # (B, T, C) -> (B, H, T, D)
            for part in self.qkv(x).chunk(3, dim=-1)
        )
        rate = self.drop_rate if self.training else 0.0
        y = F.scaled_dot_product_attention(q, k, v, dropout_p=rate, is_causal=True)  # (B, H, T, D)
        return self.out(y.transpose(1, 2).reshape(B, T, C))  # (B, T, C)

    def forward(self, x):
        x = x + self.drop(self.attention(self.norm1(x)))
        return x + self.drop(self.feed_forward(self.norm2(x)))


class SmallGPT(nn.Module):
    def __init__(self, vocab_size, context_length, emb_dim, n_heads, n_layers, drop_rate):
        super().__init__()
        self.tokens = nn.Embedding(vocab_size, emb_dim)
        self.positions = nn.Embedding(context_length, emb_dim)
        self.drop = nn.Dropout(drop_rate)
        self.blocks = nn.Sequential(*[Block(emb_dim, n_heads, drop_rate) for _ in range(n_layers)])
        self.norm = nn.LayerNorm(emb_dim)
        self.head = nn.Linear(emb_dim, vocab_size, bias=False)

    def forward(self, idx):  # (B, T)
        x = self.tokens(idx) + self.positions(torch.arange(idx.shape[1]))  # (B, T, C)
        return self.head(self.norm(self.blocks(self.drop(x))))  # (B, T, V)


def loss_of(model, batch):
    inputs, targets = batch  # (B, T) each
    logits = model(inputs)  # (B, T, V)
    return F.cross_entropy(logits.flatten(0, 1), targets.flatten())


def validation_loss(model, loader, batches=None, keep_random=True):
    """The mean loss over all targets (of the first `batches` batches), without dropout and without a graph.

    Reading a loader draws a random number. keep_random restores the random state afterwards, so that
    measuring does not change the training.
    """
    random_state = torch.get_rng_state()
    model.eval()
    parts = []
    with torch.no_grad():
        for i, batch in enumerate(loader):
            if i == batches:
                break
            parts.append((loss_of(model, batch).item(), batch[1].numel()))
    model.train()
    if keep_random:
        torch.set_rng_state(random_state)
    return sum(loss * n for loss, n in parts) / sum(n for _, n in parts)


def write(model, prompt, n):
    """Greedy: always the most likely token."""
    idx = torch.tensor([tokenizer.encode(prompt)])  # (1, T)
    model.eval()
    with torch.no_grad():
        for _ in range(n):
            logits = model(idx[:, -T:])[:, -1]  # (1, V): only the last place counts
            idx = torch.cat([idx, logits.argmax(dim=-1, keepdim=True)], dim=1)
    model.train()
    return tokenizer.decode(idx[0].tolist()).replace("\n", " ")


# %% [markdown]
# ## By hand: the loop

# %%
def start():
    """A new model, optimizer and loaders, the same in every call."""
    torch.manual_seed(123)
    model = SmallGPT(**settings)
    optimizer = torch.optim.AdamW(model.parameters(), lr=lr, weight_decay=0.1)
    return model, optimizer, *loaders()


prompt = "Every effort moves you" if full else "It had always"
model, optimizer, train_loader, val_loader = start()
print(f"{sum(p.numel() for p in model.parameters()):,} parameters, {len(train_loader)} steps per epoch")
first = validation_loss(model, val_loader)
print(f"before training: validation loss {first:.3f}; ln V = {math.log(settings['vocab_size']):.3f}")

began, step, tokens_seen = time.perf_counter(), 0, 0
steps, train_curve, val_curve = [], [], [(0, first)]
for epoch in range(epochs):
    for batch in train_loader:
        optimizer.zero_grad()  # forget the gradients of the step before
        loss = loss_of(model, batch)
        loss.backward()
        optimizer.step()
        step, tokens_seen = step + 1, tokens_seen + batch[0].numel()
        steps.append(step), train_curve.append(loss.item())
        if full and step % 5 == 1:  # the book measures here, and its loaders draw random numbers: so must we
            now = [validation_loss(model, loader, 5, keep_random=False) for loader in (train_loader, val_loader)]
            print(f"step {step - 1:3}: training {now[0]:.3f}, validation {now[1]:.3f}, "
                  f"{time.perf_counter() - began:.0f} s", flush=True)
    val_curve.append((step, validation_loss(model, val_loader)))
    recent = sum(train_curve[-len(train_loader):]) / len(train_loader)
    print(f"epoch {epoch + 1}: {tokens_seen:,} tokens, loss {recent:.3f}, validation {val_curve[-1][1]:.3f}", flush=True)
    if full or epoch in (0, epochs - 1):
        print("   ", write(model, prompt, 24))

assert abs(train_curve[0] - math.log(settings["vocab_size"])) < 1.0  # it knew nothing at the start
assert train_curve[-1] < 0.75 * train_curve[0]
assert min(v for _, v in val_curve) < first

# %% [markdown]
# The training loss keeps falling; the validation loss stops falling and then rises: the model begins to
# learn the story by heart, because the story is far too small for it. (With `--full` you see the extreme:
# training loss 0.4, validation loss 6.4, and whole sentences of the story in the sample.)
#
# ## With the package
# `Trainer` is this loop with what long runs need: checkpoints, resuming, clipping, an estimate of time
# and memory. Without clipping and with the same seed it takes the same steps: the same batches, the same
# dropout, the same losses.

# %% tags=["package"]
from tinygrad_llm.training import Trainer

model2, optimizer2, train_loader2, _ = start()
trainer = Trainer(
    model2, optimizer2, train_loader2, steps=len(train_loader), loss=loss_of,
    count=lambda batch: batch[1].numel(), clip=None, progress=False,
)
result = trainer.run(plan=False)
trained = trainer.metrics.series("loss")[1]
print(f"Trainer, one epoch: {trained[0]:.4f} ... {trained[-1]:.4f};  by hand: {train_curve[0]:.4f} ... "
      f"{train_curve[len(trained) - 1]:.4f}")
assert trained == train_curve[: len(trained)]  # to the last bit

# %%
figure, axis = plt.subplots(figsize=(7, 4.4))
per_epoch = len(train_loader)
smooth = [sum(train_curve[max(0, i - 9) : i + 1]) / len(train_curve[max(0, i - 9) : i + 1]) for i in range(step)]
axis.plot([s / per_epoch for s in steps], train_curve, c="C0", alpha=0.25, lw=0.8)
axis.plot([s / per_epoch for s in steps], smooth, c="C0", label="training")
axis.plot([s / per_epoch for s, _ in val_curve], [v for _, v in val_curve], "o-", c="C1", label="validation")
each = tokens_seen / epochs
above = axis.secondary_xaxis("top", functions=(lambda e: e * each, lambda n: n / each))
above.set_xlabel("tokens seen"), axis.set_xlabel("epochs"), axis.set_ylabel("loss (nats per token)")
axis.legend()
save_plot(figure, "02_training_loop")

# %% [markdown]
# ## Break it
# Leave `optimizer.zero_grad()` out. Each step then uses the sum of all gradients so far: like a ball that
# never loses speed.

# %%
model3, optimizer3, train_loader3, _ = start()
losses = []
for batch, _ in zip(train_loader3, range(25)):
    loss = loss_of(model3, batch)
    loss.backward()
    optimizer3.step()
    losses.append(loss.item())
print(f"after {len(losses)} steps: {losses[-1]:.3f} without zero_grad, {train_curve[len(losses) - 1]:.3f} with it")
assert losses[-1] > train_curve[len(losses) - 1]

# %% [markdown]
# ## Exercises
# 1. Without running it: how many steps has an epoch if T is halved, and if the windows overlap by half?
#    Then count.
# 2. Change one thing so that the model overfits less: `drop_rate`, `weight_decay`, a smaller `emb_dim`.
#    Compare the lowest validation losses. Which change helps?
# 3. Replace `validation_loss` by one that forgets `model.eval()`. By how much is the loss wrong?
#
# Solutions: `lessons/solutions/05_pretraining/02_training_loop.py`.
