# ---
# jupyter:
#   jupytext:
#     text_representation: {extension: .py, format_name: percent}
# ---

# %% [markdown]
# # 3. Decoding: from scores to text
#
# **Question.** The model gives 512 scores. Which token do we write?
#
# **For example.** Probabilities 0.6, 0.3, 0.1. Greedy always writes the first. Top-k with k = 2 draws among
# 0.67 and 0.33. A temperature of 0.5 makes them 0.78, 0.20, 0.02.
#
# **Answer.** More than one can be right. Always taking the most likely token (greedy) is safe but repeats
# itself. Sampling at random is lively but makes mistakes. Between the two are three settings:
#
#     temperature τ    softmax(logits / τ): below 1 sharper, above 1 flatter
#     top-k            only the k most likely tokens may be sampled
#     top-p            only the smallest set of most likely tokens whose probabilities add up to at least p
#
# **You need.** Lesson 1.

# %%
import matplotlib.pyplot as plt

import tinygrad_llm as torch
from tinygrad_llm.data import corpora
from tinygrad_llm.study.lesson import save_plot
from tinygrad_llm.text import BPETokenizer

# %% [markdown]
# ## By hand: five scores
# Somebody orders at a bar. What comes after "a cup of"?

# %%
drinks = ["tea", "coffee", "milk", "soup", "gravel"]
logits = torch.tensor([3.0, 2.6, 1.2, 0.4, -3.0])  # (V)
print("scores, of shape", tuple(logits.shape))


def show(name, p):
    print(f"{name:16}" + "  ".join(f"{word} {x:.3f}" for word, x in zip(drinks, p.tolist())))


show("temperature 1", torch.softmax(logits, dim=-1))
show("temperature 0.5", torch.softmax(logits / 0.5, dim=-1))
show("temperature 3", torch.softmax(logits / 3.0, dim=-1))

# %% [markdown]
# The order never changes, only the distances: the ratio of two probabilities is exp((a − b)/τ).

# %%
p = torch.softmax(logits / 0.5, dim=-1)
assert torch.allclose(p[0] / p[1], torch.exp((logits[0] - logits[1]) / 0.5))
assert torch.softmax(logits / 0.01, dim=-1)[0].item() > 0.9999  # τ → 0 is greedy
assert torch.allclose(torch.softmax(logits / 1e6, dim=-1), torch.full((5,), 0.2), atol=1e-5)  # τ → ∞: all equally likely

# %% [markdown]
# ## By hand: top-k and top-p
# A token that may not be sampled gets the score −∞, and so the probability e^(−∞) = 0. The others
# share its probability.

# %%
def top_k(logits, k):
    smallest = torch.topk(logits, k).values[-1]  # the k-th largest score
    return torch.where(logits < smallest, torch.tensor(float("-inf")), logits)


def top_p(logits, p):
    ordered, order = torch.sort(logits, descending=True)
    probabilities = torch.softmax(ordered, dim=-1)
    before = torch.cumsum(probabilities, dim=-1) - probabilities  # the sum of the more likely ones
    kept = order[before < p]
    mask = torch.zeros(len(logits), dtype=torch.bool)
    mask[kept] = True
    return torch.where(mask, logits, torch.tensor(float("-inf")))


show("top-k 2", torch.softmax(top_k(logits, 2), dim=-1))
show("top-p 0.9", torch.softmax(top_p(logits, 0.9), dim=-1))

torch.manual_seed(123)
samples = torch.multinomial(torch.softmax(logits, dim=-1), 1000, replacement=True)
counts = torch.bincount(samples, minlength=5)
print("1,000 samples:  ", "  ".join(f"{word} {n}" for word, n in zip(drinks, counts.tolist())))
limited = torch.multinomial(torch.softmax(top_k(logits, 2), dim=-1), 1000, replacement=True)
assert limited.max().item() == 1  # only tea and coffee

# %% [markdown]
# top-k takes two drinks whether the model is sure or not. top-p adapts: with a sure model it keeps one
# token, with an unsure model many.

# %%
sure = torch.tensor([9.0, 1.0, 0.0, 0.0, 0.0])
unsure = torch.tensor([0.1, 0.0, 0.0, 0.0, 0.0])
kept = [int(torch.isfinite(top_p(x, 0.9)).sum()) for x in (sure, logits, unsure)]
print("tokens that top-p 0.9 keeps: sure", kept[0], " in between", kept[1], " unsure", kept[2])
assert kept[0] == 1 and kept[2] == 5

# %% [markdown]
# ## With the package
# A small GPT, trained here for some seconds on "The Verdict". `generate` has the three settings.

# %% tags=["package"]
from tinygrad_llm.generation import generate, next_token, top_k_filter, top_p_filter
from tinygrad_llm.models import GPT
from tinygrad_llm.training import TokenBatches, Trainer

rows = logits.unsqueeze(0)  # (V) -> (1, V)
assert torch.equal(top_k_filter(rows, 2)[0], top_k(logits, 2))
assert torch.equal(top_p_filter(rows, 0.9)[0], top_p(logits, 0.9))
assert next_token(rows).item() == 0  # greedy

text = corpora.load("the-verdict").text
tokenizer = BPETokenizer.train(text, 512)
torch.manual_seed(123)
model = GPT(dict(vocab_size=512, context_length=32, emb_dim=64, n_heads=4, n_layers=2, drop_rate=0.0))
optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3)
Trainer(model, optimizer, TokenBatches(tokenizer.encode(text), 16, 32), steps=300, progress=False).run(plan=False)

prompt = tokenizer.encode("I had always")


def write(seed=1, **options):
    ids = generate(model, prompt, 40, seed=seed, **options).tolist()
    return tokenizer.decode(ids).replace("\n", " ")


settings = {
    "greedy": {},
    "temperature 0.5": dict(temperature=0.5),
    "temperature 1": dict(temperature=1.0),
    "top-k 10": dict(temperature=1.0, top_k=10),
    "top-p 0.8": dict(temperature=1.0, top_p=0.8),
    "temperature 4": dict(temperature=4.0),
}
for name, options in settings.items():
    print(f"{name:16}{write(**options)}")
assert write() == write(seed=2)  # greedy: nothing is random, so every seed writes the same
assert write(temperature=1.0) != write(seed=2, temperature=1.0)
assert write(temperature=1.0, top_k=1) == write()

# %% [markdown]
# How sure is the model about its own text? The mean p of the tokens that it wrote, and the share of
# different ones among them: the settings trade one for the other.

# %% tags=["package"]
def confidence(temperature):
    ids = generate(model, prompt, 200, seed=1, temperature=temperature)  # (3 + 200)
    windows = torch.stack([ids[i : i + 32] for i in range(len(ids) - 32)])  # (N, 32)
    with torch.no_grad():
        p = torch.softmax(model.eval()(windows)[:, -1], dim=-1)  # (N, 32, V) -> (N, V)
    chosen = p[torch.arange(len(windows)), ids[32:]]  # (N)
    return chosen.mean().item(), len(set(ids.tolist())) / len(ids)


temperatures = [0.0, 0.3, 0.6, 0.9, 1.2, 1.6, 2.0]
measured = [confidence(t) for t in temperatures]
assert measured[1][0] > measured[4][0] > measured[-1][0]
assert measured[0][1] < measured[-1][1]

figure, (left, right) = plt.subplots(1, 2, figsize=(10, 4))
for i, (name, x) in enumerate([("τ = 0.5", logits / 0.5), ("τ = 1", logits), ("τ = 3", logits / 3.0),
                               ("top-k 2", top_k(logits, 2))]):
    left.bar([j + 0.2 * i - 0.3 for j in range(5)], torch.softmax(x, dim=-1).tolist(), 0.2, label=name)
left.set_xticks(range(5), drinks), left.set_ylabel("probability"), left.legend()
right.plot(temperatures, [a for a, _ in measured], "o-", label="mean p of what it wrote")
right.plot(temperatures, [b for _, b in measured], "s-", label="different tokens / all tokens")
right.set_xlabel("temperature"), right.set_ylim(0, 1), right.legend()
save_plot(figure, "03_decoding")

# %% [markdown]
# ## Exercises
# 1. For which settings is nothing in `generate` random, so that every seed writes the same?
# 2. Min-p is a newer rule: keep the tokens whose probability is at least m times the largest one. Write
#    it as a filter of logits. When does it keep more than top-p, when less?
# 3. How much slower is `generate(..., use_cache=False)` for 25 tokens? Does it write the same?
#
# Solutions: `lessons/solutions/05_pretraining/03_decoding.py`
