# ---
# jupyter:
#   jupytext:
#     text_representation: {extension: .py, format_name: percent}
# ---

# %% [markdown]
# # 3. Wrong answers teach: bi-encoders, hard negatives, and codes of bits
#
# **Question.** A bi-encoder makes a vector of the question and one of each passage, without seeing both together. How does it
# learn which passage fits, when the data has right passages only? And how many bits of a vector must be kept?
#
# **For example.** Two questions, two passages: the cosines (0.9, 0.2) and (0.3, 0.8). The 0.9 and 0.8 should
# grow, the 0.2 and 0.3 fall.
#
# **Predict first.** A batch holds 16 questions with their passages. How many wrong pairs are in it, and how many passages
# went through the encoder for them?
#
# **You need.** Lesson 1, chapter 14, lesson 4.

# %%
import math

import matplotlib.pyplot as plt

import tinygrad_llm as torch
import tinygrad_llm.nn.functional as F
from tinygrad_llm.study.lesson import save_plot

torch.manual_seed(123)

# %% [markdown]
# ## By hand: the negatives are in the batch
# All products of B questions and B passages are one matrix (B, B). The diagonal holds the right pairs, and every other entry
# is a wrong pair that costs nothing: 16 · 15 = 240 of them from 16 passages. The loss of a row is a cross-entropy whose
# right class is the row's own number.

# %%
q = torch.tensor([[1.0, 0.0], [0.0, 1.0], [0.7, 0.7]])
p = torch.tensor([[0.9, 0.1], [0.2, 1.0], [0.6, 0.9]])
scores = q @ p.T  # shape (B, B)
loss = F.cross_entropy(scores, torch.arange(3))
by_hand = -sum(math.log(math.exp(scores[i, i].item()) / sum(math.exp(s) for s in scores[i].tolist())) for i in range(3)) / 3
print(f"loss {loss.item():.4f}, by hand {by_hand:.4f}")
assert abs(loss.item() - by_hand) < 1e-5

# %% [markdown]
# ## A world with look-alikes
# 900 passages belong to 300 topics, three to each. Half of a vector says which topic, the other half, which is shorter, which
# of the three. The questions see the first half as it is and the second one through distorting glasses, a random matrix. The
# question's encoder, one matrix, begins with the first half only: it knows topics, and must learn to undo the glasses.

# %%
C, TOPICS, EACH = 12, 300, 3
topic = F.normalize(torch.randn(TOPICS, 1, C), dim=-1).expand(TOPICS, EACH, C)
detail = 0.3 * F.normalize(torch.randn(TOPICS, EACH, C), dim=-1)
passages = torch.cat([topic, detail], -1).reshape(-1, 2 * C)  # shape (900, 24)
glasses = torch.randn(C, C) / math.sqrt(C)
seen = torch.cat([passages[:, :C], passages[:, C:] @ glasses], -1)
questions = seen + 0.02 * torch.randn(TOPICS * EACH, 2 * C)  # shape (900, 24)
order = torch.randperm(len(passages))
train, test = order[:600], order[600:]


def look_alikes(rows):
    """For each passage another one of its topic, a hard negative."""
    return rows // EACH * EACH + (rows % EACH + torch.randint(1, EACH, (len(rows),))) % EACH


def first_hits(encoder):
    """The share of test questions whose passage comes first among all 900."""
    with torch.no_grad():
        best = (encoder(questions[test]) @ passages.T).argmax(1)
    return (best == test).float().mean().item()


def trained(batch_size, hard=False, steps=200):
    """A matrix for the questions, and the share of right first hits along its training."""
    torch.manual_seed(1)
    encoder = torch.nn.Linear(2 * C, 2 * C, bias=False)
    with torch.no_grad():
        encoder.weight.copy_(torch.diag(torch.cat([torch.ones(C), torch.zeros(C)])))
    optimizer = torch.optim.AdamW(encoder.parameters(), lr=0.01, weight_decay=0.0)
    shares = [first_hits(encoder)]
    for step in range(1, steps + 1):
        rows = train[torch.randint(0, len(train), (batch_size,))]
        candidates = passages[rows]
        if hard:
            candidates = torch.cat([candidates, passages[look_alikes(rows)]])  # shape (2B, C)
        loss = F.cross_entropy(encoder(questions[rows]) @ candidates.T / 0.05, torch.arange(batch_size))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        if step % 10 == 0:
            shares.append(first_hits(encoder))
    return encoder, shares


curves = {}
for name, size, hard in (("4 pairs", 4, False), ("16 pairs", 16, False), ("32 pairs", 32, False), ("16 and 16 hard", 16, True)):
    encoder, curves[name] = trained(size, hard)
    print(f"{name:15} right first hits: before {curves[name][0]:.2f}, after 50 steps {curves[name][5]:.2f}, after 200 {curves[name][-1]:.2f}")
assert curves["4 pairs"][-1] < curves["16 pairs"][-1] < curves["32 pairs"][-1]
assert curves["16 and 16 hard"][5] > curves["32 pairs"][5] + 0.05, "as many candidates, but better ones"

# %% [markdown]
# **Answer.** The batch provides the wrong passages, and a larger one is a harder exercise: two passages of one topic meet in
# it more often. Most random passages are of other topics, which the encoder can tell apart already, so their gradient is
# about 0. Hard negatives are the mistakes that the model would make: the same number of candidates teaches more.
#
# ## With the package: signs after training, or training for signs
# A passage becomes C bits. Taking the signs of vectors that were trained as numbers loses much; BPR trains tanh(β·e), which
# comes closer to the sign as β grows, and keeps the question's numbers for the order of the candidates.

# %% tags=["package"]
import numpy as np  # noqa: E402

from tinygrad_llm.retrieval.binary import BinaryIndex, train_projection  # noqa: E402
from tinygrad_llm.retrieval.search import search_vectors  # noqa: E402

with torch.no_grad():
    vectors = F.normalize(encoder(questions), dim=-1).numpy()
keys = passages.numpy()
keys = keys / np.linalg.norm(keys, axis=1, keepdims=True)
rows, asked = train.numpy(), test.numpy()
hard = keys[look_alikes(train).numpy()]
bpr = train_projection(vectors[rows], keys[rows], hard=hard, steps=150, batch_size=64, lr=5e-3)
q_bits, p_bits = bpr.arrays(vectors[asked], keys)


def share(ids, k):
    """The share of test questions whose passage is among the first k hits."""
    return float((ids[:, :k] == asked[:, None]).any(1).mean())


results = {"numbers": search_vectors(vectors[asked], keys, 10).ids}
plain, codes = BinaryIndex(keys), BinaryIndex(p_bits)
results["signs"] = plain.search(vectors[asked], 10, 0).ids
results["BPR"] = codes.search(q_bits, 10, 0).ids
results["BPR, re-ranked"] = codes.search(q_bits, 10, 30).ids
for name, ids in results.items():
    print(f"{name:15} among the first 1 {share(ids, 1):.2f}, 3 {share(ids, 3):.2f}, 10 {share(ids, 10):.2f}")
print(f"{keys.nbytes:,} bytes of numbers, {codes.codes.nbytes:,} of bits")
assert codes.codes.nbytes * 32 == keys.nbytes
assert share(results["BPR, re-ranked"], 3) > share(results["signs"], 3)

# %% tags=["package"]
figure, axes = plt.subplots(1, 2, figsize=(11, 4))
for name, curve in curves.items():
    axes[0].plot(range(0, 201, 10), curve, label=name)
axes[0].set_xlabel("step"), axes[0].set_ylabel("right first hits"), axes[0].set_ylim(0, 1), axes[0].legend()
for shift, k in enumerate((1, 3, 10)):
    places = [i + 0.27 * shift for i in range(len(results))]
    axes[1].bar(places, [share(ids, k) for ids in results.values()], 0.27, label=f"first {k}")
axes[1].set_xticks([i + 0.27 for i in range(len(results))], list(results), fontsize=8)
axes[1].set_ylabel("found among"), axes[1].set_ylim(0, 1.05), axes[1].legend(fontsize=8, loc="lower right")
save_plot(figure, "03_negatives_and_bits")

# %% [markdown]
# The same with texts: `tinygrad-llm rag questions` writes questions with hard negatives from an index, `finetune embed` trains
# the vectors, `finetune rerank` a cross-encoder, which reads question and passage together (figures in
# benchmarks/RETRIEVAL.md). `study.explain` has a page on BinaryPassageLoss.
#
# ## Exercises
# 1. Two passages of a batch are the same text. Compute the least loss that their rows can have, and say what to do about it.
# 2. 21 million passages with 768 numbers each: how many gigabytes are the float32 vectors, and how many the bits?
# 3. A mistake that runs without an error: a "hard negative" is the right passage itself. Which gradient does it send to the
#    question? Show it with one question and two candidates.
#
# Solutions: `lessons/solutions/19_retrieval/03_negatives_and_bits.py`
