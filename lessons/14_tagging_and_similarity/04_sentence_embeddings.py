# ---
# jupyter:
#   jupytext:
#     text_representation: {extension: .py, format_name: percent}
# ---

# %% [markdown]
# # 4. One vector for a sentence: SimCSE, and whether attention is a cosine
#
# **Question.** To find similar sentences among a million, a model cannot read each pair together. It needs one vector
# per sentence. How do you train vectors whose *angle* says how similar two sentences are, even without any labels?
#
# **For example.** (1, 0) and (1, 1): cosine 0.71. (1, 0) and (0, 1): 0. A sentence and a copy with other
# words should be near 1.
#
# **Predict first.** SimCSE passes the *same* sentence twice through the encoder and says: these two belong together.
# Why is that not trivially true? What makes the two vectors differ?
#
# At the end the reader's question: is attention a cosine similarity?
#
# **You need.** Lesson 3; the cosine of two vectors.

# %%
import matplotlib.pyplot as plt

import tinygrad_llm as torch
import tinygrad_llm.nn.functional as F
from tinygrad_llm.study.lesson import save_plot

torch.manual_seed(123)

# %% [markdown]
# ## By hand: find the partner among all partners of the batch
# Row i of `a` and row i of `p` are a pair. Scores are cosines divided by a temperature; each row is a
# classification among B candidates, whose right answer is its own column. No other labels are needed.

# %%
B, C, tau = 4, 6, 0.1
a = torch.randn(B, C, requires_grad=True)
p = (a.detach() + 0.7 * torch.randn(B, C)).requires_grad_()


def unit(x):
    return x / (x * x).sum(-1, keepdim=True).sqrt()


s = unit(a) @ unit(p).T / tau  # shape (B, B)
P = torch.softmax(s, dim=1)
loss = -torch.log(torch.diagonal(P)).mean()
print("scores:", [[round(v, 1) for v in row] for row in s.tolist()])
print(f"loss {loss.item():.4f}; a model that knows nothing has ln B = {torch.log(torch.tensor(float(B))).item():.4f}")
assert torch.allclose(loss, F.cross_entropy(s, torch.arange(B)), atol=1e-6)

# %% [markdown]
# ∂L/∂s = (P − I)/B: each wrong candidate is pushed away by its probability, the partner is pulled by what it lacks.
# Through the normalisation nothing along a vector itself comes back: its length has no effect on an angle.

# %%
(of_scores,) = torch.autograd.grad(loss, s, retain_graph=True)
assert torch.allclose(of_scores, (P - torch.eye(B)) / B, atol=1e-6)
(of_a,) = torch.autograd.grad(loss, a, retain_graph=True)
along = (of_a * unit(a)).sum(-1)
print(f"largest gradient {of_a.abs().max().item():.3f}; along the vectors themselves {along.abs().max().item():.6f}")
assert along.abs().max() < 1e-5

# %% [markdown]
# ## The temperature: who is pushed?
# With a large τ all wrong candidates are pushed alike. With a small one almost only the most similar wrong one is: a
# *hard negative* by itself.

# %%
shares = {}
for t in (1.0, 0.3, 0.1, 0.05, 0.02):
    P = torch.softmax(unit(a) @ unit(p).T / t, dim=1).detach()
    wrong = P * (1.0 - torch.eye(B))
    shares[t] = (wrong.max(1)[0] / wrong.sum(1)).mean().item()
    print(f"temperature {t:4}: {100 * shares[t]:5.1f} % of the push goes to the most similar wrong one")
assert shares[1.0] < 0.6 and shares[0.02] > shares[0.1] > shares[1.0]

# %% [markdown]
# ## Without labels: dropout makes the pair
# Dropout draws another mask for each row, so that the same text has two vectors. They are as similar as the mask
# allows; everything else in the batch is different. The model learns which differences do not matter.

# %%
x = torch.randn(1, 64).expand(2, 64)
for rate in (0.0, 0.1, 0.5):
    y = F.dropout(x, rate, training=True)
    cosine = (unit(y[:1]) * unit(y[1:])).sum().item()
    print(f"dropout {rate}: cosine of the two {cosine:.3f}")
    assert (cosine > 0.999) == (rate == 0.0)

# %% [markdown]
# ## With the package: SimCSE on a small scale
# A small encoder with random weights, sentences of our own making (about who is where), and pairs with scores from 0
# to 5 for the test, sentences that training has not seen. `tinygrad-llm finetune embed` does the same with 21,000 Japanese sentences.

# %% tags=["package"]
import numpy as np

from tinygrad_llm import study
from tinygrad_llm.evaluation import correlation_intervals, spearman
from tinygrad_llm.finetune.embedding import (
    EmbeddingDataset, SentenceEmbedder, embedding_trainer, hard_negatives,
)
from tinygrad_llm.finetune.pairs import ngram_overlap
from tinygrad_llm.finetune.pairs.tokenizer import make_tokenizer
from tinygrad_llm.finetune.sample_texts import sentence_pairs
from tinygrad_llm.models import Bert, BertConfig, SentenceEncoder

pairs = sentence_pairs(1200)
tokenizer = make_tokenizer("bpe", [text for a, b, _, _ in pairs for text in (a, b)])
test = pairs[900:]
scores = [score for *_, score in test]
held_out = {text for a, b, _, _ in test for text in (a, b)}
texts = list(dict.fromkeys(t for a, b, _, _ in pairs[:900] for t in (a, b) if t not in held_out))
partners = [(a, b) for a, b, _, score in pairs[:900] if score == 5.0 and not {a, b} & held_out]


def new_encoder():
    torch.manual_seed(1)
    config = BertConfig(tokenizer.vocab_size, context_length=64, emb_dim=64, hidden_dim=128, n_heads=4, n_layers=2)
    return SentenceEncoder(Bert(config), "mean")


def cosines(model):
    embedder = SentenceEmbedder(model, tokenizer)
    first, second = (embedder.embed([pair[i] for pair in test]) for i in (0, 1))
    return (first * second).sum(1)


overlap = [ngram_overlap(a, b) for a, b, _, _ in test]
results = {"shared characters": overlap, "random weights": cosines(new_encoder())}
negatives = hard_negatives(partners, texts)
rows = {
    "SimCSE, no labels": [(text,) for text in texts],
    "partners": partners,
    "partners, hard negatives": [(*pair, n) for pair, n in zip(partners, negatives)],
}
print(f"{len(texts)} sentences, {len(partners)} pairs that mean the same")
print("a hard negative:", partners[0], "but not", repr(negatives[0]))
for name, examples in rows.items():
    model = new_encoder()
    data = EmbeddingDataset(examples, tokenizer)
    steps = 30 if name == "SimCSE, no labels" else 60
    embedding_trainer(model, data, steps=steps, batch_size=32, lr=1e-3, temperature=0.05, progress=False).run(plan=False)
    results[name] = cosines(model)
intervals = {}
for name, values in results.items():
    intervals[name] = correlation_intervals(values, scores, n=200)["spearman"]
    print(f"{name:25} Spearman {intervals[name]}")
assert intervals["partners"].value > intervals["random weights"].value
assert intervals["partners"].low > intervals["SimCSE, no labels"].low

# %% [markdown]
# ## The reader's question: is attention a cosine similarity?
# The score of a query and a key is q·k/√D = |q|·|k|·cos(q, k)/√D. Three differences can be measured in an encoder:
# does the score follow cos(q, k), or the cosine of the two *tokens'* vectors? Is it symmetric, as every cosine is?
# How much do the lengths |k| differ, which a cosine does not see?

# %% tags=["package"]
def attention_and_cosines(bert, ids):
    """Per block, over heads and pairs of tokens: correlations of the scores, and the spread of |k|."""
    inputs, lines = [], []
    handles = [block.register_forward_pre_hook(lambda m, given: inputs.append(given[0])) for block in bert.trf_blocks]
    with torch.no_grad():
        bert(torch.tensor([ids]))
        for block, x in zip(bert.trf_blocks, inputs):
            T, heads = x.shape[1], block.att.n_heads
            qkv = block.att.qkv(x[0]).reshape(T, 3, heads, -1)  # (T, 3·C) -> (T, 3, H, D)
            tokens = (unit(x[0]) @ unit(x[0]).T).numpy()
            off = ~np.eye(T, dtype=bool)
            row = []
            for h in range(heads):
                q, k = qkv[:, 0, h], qkv[:, 1, h]  # (T, D) each
                score, angle = (q @ k.T).numpy(), (unit(q) @ unit(k).T).numpy()
                length = (k * k).sum(-1).sqrt().numpy()
                row.append([spearman(score[off], angle[off]), spearman(score[off], tokens[off]),
                            spearman(score[off], score.T[off]), float(length.max() / length.min())])
            lines.append(np.mean(row, axis=0))
    for handle in handles:
        handle.remove()
    return np.array(lines)


def show(name, table):
    print(f"{name}\n  block   cos(q, k)   cosine of the tokens   transposed   longest / shortest key")
    for i, (angle, tokens, turned, spread) in enumerate(table):
        print(f"  {i:5}   {angle:9.2f}   {tokens:20.2f}   {turned:10.2f}   {spread:22.1f}")


small = attention_and_cosines(model.eval().model, tokenizer.encode(texts[0]))
show("the small encoder, Spearman of the score with", small)
assert (small[:, 0] > small[:, 1]).all(), "the score is nearer to the angle of q and k than of the tokens"
assert small[:, 2].max() < 0.9, "and it is not symmetric"

from tinygrad_llm.weights import packaged

if packaged.locate(packaged.PACKAGED["all-minilm-l6-v2"]) is not None:
    minilm = SentenceEmbedder.load("all-minilm-l6-v2")
    sentence = "A man is eating a piece of bread while his dog waits under the table."
    show("MiniLM, trained on a billion pairs", attention_and_cosines(minilm.model.model, minilm.tokenizer.encode(sentence)))
    pair = "A man is eating food.", "A man is eating a piece of bread."
    print(f"its vectors: cosine {minilm.similarity(*pair):.3f} for {pair[0]!r} and {pair[1]!r}")
    assert abs(minilm.similarity(*pair) - 0.755) < 1e-3

# %% [markdown]
# **Answer.** Nearly, but not of the tokens. The scores follow cos(q, k) closely (0.97 to 0.99 in MiniLM): keys differ
# in length by a factor of about two, which changes some weights and few ranks. But q and k come from *different* matrices:
# the score has nothing to do with how similar the two tokens are (near 0), and "i looks at j" is not "j looks at i",
# as it would be for every cosine of one set of vectors. Unit vectors (`qk_norm`) make it the cosine of q and k exactly.

# %% tags=["package"]
figure, axes = plt.subplots(1, 3, figsize=(14, 4))
axes[0].plot(list(shares), list(shares.values()), "o-"), axes[0].set_xscale("log")
axes[0].set_xlabel("temperature"), axes[0].set_ylabel("share of the push on the hardest")
for name in ("random weights", "partners"):
    axes[1].plot(scores, results[name], ".", alpha=0.4, label=f"{name}: {intervals[name].value:.2f}")
axes[1].set_xlabel("score"), axes[1].set_ylabel("cosine"), axes[1].legend(fontsize=8)
for column, name in enumerate(("cos(q, k)", "tokens", "transposed")):
    axes[2].bar(np.arange(len(small)) + 0.25 * column, small[:, column], 0.25, label=name)
axes[2].set_xticks(np.arange(len(small)) + 0.25, range(len(small))), axes[2].set_xlabel("block")
axes[2].set_ylabel("Spearman with the attention score"), axes[2].set_ylim(top=1.35), axes[2].legend(fontsize=8)
save_plot(figure, "04_sentence_embeddings")

first, second = (SentenceEmbedder(model, tokenizer).embed([pair[i] for pair in partners[:8]]) for i in (0, 1))
picture = study.draw_similarities(first, second, [a for a, _ in partners[:8]])
save_plot(picture, "04_sentence_embeddings_batch")

# %% [markdown]
# ## Exercises
# 1. What is the smallest loss that four pairs can reach with τ = 0.05, and what with τ = 1? (The best angles: partners at
#    cosine 1, all others at −1/3.) Why does a loss near zero say little?
# 2. Add one hard negative per pair: the candidates are 2·B rows. Show that ∂L/∂s of a negative's column is its mean
#    probability, and never below zero.
# 3. A mistake that runs without an error: the vectors are not normalised. Take gradient steps on `a` and `p` of a
#    by-hand example with and without `unit`. Compare the losses, and the cosines of the partners.
#
# Solutions: `lessons/solutions/14_tagging_and_similarity/04_sentence_embeddings.py`
