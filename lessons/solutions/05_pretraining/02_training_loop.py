# ---
# jupyter:
#   jupytext:
#     text_representation: {extension: .py, format_name: percent}
# ---

# %% [markdown]
# # Solutions: the training loop

# %%
import tinygrad_llm as tl
from tinygrad_llm.data import corpora
from tinygrad_llm.models import GPT
from tinygrad_llm.models.base import evaluation
from tinygrad_llm.text import BPETokenizer
from tinygrad_llm.training import EvaluationBatches, TokenBatches, Trainer, evaluate

text = corpora.load("the-verdict").text
tokenizer = BPETokenizer.train(text, 512)
cut = int(0.9 * len(text))
train, val = (tokenizer.encode(part) for part in (text[:cut], text[cut:]))

# %% [markdown]
# ## 1. Steps in an epoch
# Half the length makes twice as many windows. Windows that overlap by half begin twice as often: again
# twice as many.

# %%
def windows(n, T, stride):
    return len(range(0, n - T, stride))


n, batch_size = len(train), 8
for T, stride in ((32, 32), (16, 16), (32, 16)):
    print(f"T = {T}, a window every {stride} tokens: {windows(n, T, stride) // batch_size} steps")
assert windows(100, 10, 10) == 9 and windows(100, 5, 5) == 19 and windows(100, 10, 5) == 18
assert abs(windows(n, 16, 16) - 2 * windows(n, 32, 32)) <= 1
assert abs(windows(n, 32, 16) - 2 * windows(n, 32, 32)) <= 1

# %% [markdown]
# ## 2. What helps against learning by heart

# %%
def train_one(drop_rate=0.0, weight_decay=0.1, emb_dim=64, steps=400):
    """(the model, its validation losses, one every 40 steps)."""
    tl.manual_seed(123)
    model = GPT(dict(vocab_size=512, context_length=32, emb_dim=emb_dim, n_heads=4, n_layers=2,
                     drop_rate=drop_rate))
    optimizer = tl.optim.AdamW(model.parameters(), lr=3e-3, weight_decay=weight_decay)
    trainer = Trainer(
        model, optimizer, TokenBatches(train, 8, 32), steps=steps, eval_every=40, progress=False,
        validation=EvaluationBatches(val, 32, 32),
    )
    trainer.run(plan=False)
    return model, trainer.metrics.series("val_loss")[1]


runs = {
    "plain": train_one(),
    "drop_rate 0.2": train_one(drop_rate=0.2),
    "weight_decay 2.0": train_one(weight_decay=2.0),
    "emb_dim 32": train_one(emb_dim=32),
}
for name, (_, losses) in runs.items():
    print(f"{name:17} lowest {min(losses):.3f}, at the end {losses[-1]:.3f}")
assert min(runs["emb_dim 32"][1]) < min(runs["plain"][1])

# %% [markdown]
# On so small a text the smaller model wins. Dropout and strong decay slow the learning down and have not
# reached their lowest point yet. Nothing helps as much as more text would.
#
# ## 3. A measurement that forgets `eval()`
# With dropout on, a part of the model is missing in every measurement, so the loss looks too high. It
# also changes from one measurement to the next.

# %%
model = runs["drop_rate 0.2"][0]
batches = EvaluationBatches(val, 32, 32)
right, _ = evaluate(model, batches)
model.train()
with tl.no_grad():
    wrong = [model.loss(*batches[0]).item() for _ in range(5)]
    with evaluation(model):
        again = model.loss(*batches[0]).item()
print(f"with eval() {right:.3f}; without, five times: {' '.join(f'{w:.3f}' for w in wrong)}")
assert abs(again - right) < 1e-5 and min(wrong) > right and len(set(wrong)) == 5
