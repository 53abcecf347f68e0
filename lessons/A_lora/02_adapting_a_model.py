# ---
# jupyter:
#   jupytext:
#     text_representation: {extension: .py, format_name: percent}
# ---

# %% [markdown]
# # 2. Adapting a whole model
#
# **Question.** One trained model, many tasks: must we keep a whole copy of it for each?
#
# **For example.** A base of 500 MB and ten adapters of 2 MB are 520 MB. Ten tuned copies would be 5,000 MB.
#
# **Answer.** No. The frozen base is stored once. Each task has an adapter, the matrices A and B of all its
# layers, in a file of a few kilobytes. To generate text the adapter can be merged into the weights (W + ΔW),
# so that the adapted model costs nothing extra.
#
# **You need.** Lesson 1.

# %%
import tempfile
from pathlib import Path

import matplotlib.pyplot as plt

import tinygrad_llm as tl
from tinygrad_llm.data import corpora
from tinygrad_llm import nn
from tinygrad_llm.generation import generate
from tinygrad_llm.models import GPT
from tinygrad_llm.layers import lora
from tinygrad_llm.study.lesson import save_plot
from tinygrad_llm.text import CharTokenizer
from tinygrad_llm.training import EvaluationBatches, TokenBatches, Trainer, evaluate
from tinygrad_llm.weights import save_model

# %% [markdown]
# ## A base
# A small GPT that knows a little Shakespeare, character by character. It is trained here.

# %%
plays = corpora.load("tinyshakespeare").text[:200_000]
story = corpora.load("the-verdict").text
tokenizer = CharTokenizer.train(plays + story)
config = dict(vocab_size=tokenizer.vocab_size, context_length=48, emb_dim=64, n_heads=4, n_layers=2, drop_rate=0.0)


def train(model, ids, steps, lr):
    trained = [p for p in model.parameters() if p.requires_grad]
    optimizer = tl.optim.AdamW(trained, lr=lr, weight_decay=0.0)
    trainer = Trainer(model, optimizer, TokenBatches(ids, 16, 48), steps=steps, progress=False)
    trainer.run(plan=False)
    return trainer.metrics.series("loss")[1]


cut = int(0.8 * len(story))
story_train, story_val = tokenizer.encode(story[:cut]), EvaluationBatches(tokenizer.encode(story[cut:]), 32, 48)
tl.manual_seed(123)
base = GPT(config)
losses = train(base, tokenizer.encode(plays), 400, 3e-3)
start, _ = evaluate(base, story_val)
print(f"base: {base.n_parameters():,} parameters, loss on the plays {losses[-1]:.2f}, on Wharton's story {start:.2f}")

# %% [markdown]
# ## By hand
# Find every Linear inside the blocks, put our own layer in its place, and freeze everything else.

# %%
class LoRALayer(nn.Module):
    """linear(x) + (α/r)·x·Aᵀ·Bᵀ"""

    def __init__(self, linear, rank, alpha):
        super().__init__()
        self.linear, self.scale = linear, alpha / rank
        self.A = nn.Parameter(tl.empty(rank, linear.in_features))
        nn.init.kaiming_uniform_(self.A, a=5**0.5)
        self.B = nn.Parameter(tl.zeros(linear.out_features, rank))

    def forward(self, x):
        return self.linear(x) + x @ self.A.T @ self.B.T * self.scale  # (..., in) -> (..., r) -> (..., out)


def fresh():
    model = GPT(config)
    model.load_state_dict(base.state_dict())
    return model


by_hand = fresh()
by_hand.requires_grad_(False)
tl.manual_seed(7)
wrapped = [name for name, module in by_hand.named_modules()
           if isinstance(module, nn.Linear) and name.startswith("trf_blocks")]
for name in wrapped:
    by_hand.set_submodule(name, LoRALayer(by_hand.get_submodule(name), rank=4, alpha=8))
print(f"{len(wrapped)} layers, such as {wrapped[0]} and {wrapped[-1]}")
one = by_hand.trf_blocks[0].att.qkv
print("shapes: weight", tuple(one.linear.weight.shape), " A", tuple(one.A.shape), " B", tuple(one.B.shape))

# %% [markdown]
# ## With the package
# `lora.add` does the same in one line. The same seed draws the same A, so the losses must be equal.

# %%
model = fresh()
tl.manual_seed(7)
chosen = lora.add(model, rank=4, alpha=8, names=["trf_blocks.*"])
assert chosen == wrapped
count = lora.count(model)
print(f"trained: {count['trainable']:,} of {count['total']:,} parameters ({count['trainable'] / count['total']:.1%})")

idx, targets = story_val[0]
with tl.no_grad():
    assert tl.equal(model(idx), base(idx))  # at the start nothing is changed, to the last bit
frozen = {name: p.detach().clone() for name, p in model.named_parameters() if not p.requires_grad}
by_hand_losses = train(by_hand, story_train, 20, 1e-2)
package_losses = train(model, story_train, 20, 1e-2)
print(f"20 steps: {by_hand_losses[-1]:.4f} by hand, {package_losses[-1]:.4f} with the package")
assert max(abs(a - b) for a, b in zip(by_hand_losses, package_losses)) < 1e-3

train(model, story_train, 180, 1e-2)
adapted, _ = evaluate(model, story_val)
print(f"validation loss on the story: {start:.3f} before, {adapted:.3f} adapted")
assert adapted < start - 0.1
assert all(tl.equal(p, dict(model.named_parameters())[name]) for name, p in frozen.items())  # not one byte has changed

# %% [markdown]
# ## Merge, unmerge, save, load

# %%
with tl.no_grad():
    unmerged = model(idx)
    lora.merge(model)
    merged = model(idx)
    print(f"merged: the logits differ by at most {(merged - unmerged).abs().max().item():.1e}")
    assert tl.allclose(merged, unmerged, atol=1e-4)
    lora.unmerge(model)
    assert tl.equal(model(idx), unmerged)

folder = Path(tempfile.mkdtemp())
lora.save(model, folder / "wharton", base_model="a little Shakespeare")
save_model(base, folder / "base.safetensors")
sizes = {p.name: p.stat().st_size for p in (folder / "wharton" / "adapter_model.safetensors", folder / "base.safetensors")}
print("bytes:", sizes)
again = fresh()
lora.load(again, folder / "wharton")
with tl.no_grad():
    assert tl.equal(again(idx), unmerged)
assert sizes["adapter_model.safetensors"] < sizes["base.safetensors"] / 4

prompt = tokenizer.encode("The picture ")
for name, m in (("base", base), ("adapted", model)):
    print(f"{name:8}", repr(tokenizer.decode(generate(m, prompt, 60, temperature=0.6, seed=2).tolist())))

# %% [markdown]
# ## What rank?
# A higher rank learns more. All weights together go further still: this base knows so little that much of it
# must change. On a well trained base a small rank is enough (Hu et al., 2021, table 6).

# %%
results = {}
for name, rank, lr in (("rank 1", 1, 1e-2), ("rank 16", 16, 1e-2), ("all weights", None, 1e-3)):
    model2 = fresh()
    tl.manual_seed(7)
    if rank:
        lora.add(model2, rank=rank, alpha=2 * rank, names=["trf_blocks.*"])
    curve = []
    for _ in range(4):
        train(model2, story_train, 40, lr)
        curve.append(evaluate(model2, story_val)[0])
    n_trained = sum(p.numel() for p in model2.parameters() if p.requires_grad)
    results[f"{name}: {n_trained:,} parameters"] = curve
    print(f"{name:12} {n_trained:7,} parameters, validation loss {curve[-1]:.3f}")
assert all(curve[-1] < start for curve in results.values())

figure, axis = plt.subplots(figsize=(7, 4))
for name, curve in results.items():
    axis.plot([0, 40, 80, 120, 160], [start, *curve], "o-", label=name)
axis.set_xlabel("step"), axis.set_ylabel("validation loss on the story"), axis.legend()
save_plot(figure, "02_adapting_a_model")

# %% [markdown]
# ## Exercises
# 1. Adapt only the attention (`names=["att.*"]`), then only the feed-forward layers (`names=["ff.*"]`). Which
#    is better for the same number of trained parameters?
# 2. Two adapters on one base: save one, `lora.remove` it, train another. Is the base unchanged in the end?
# 3. α = 2·r is a common choice. What happens for α = r/8 and for α = 128·r with the same learning rate?
#
# Solutions: `lessons/solutions/A_lora/02_adapting_a_model.py`
