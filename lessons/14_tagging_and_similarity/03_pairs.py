# ---
# jupyter:
#   jupytext:
#     text_representation: {extension: .py, format_name: percent}
# ---

# %% [markdown]
# # 3. Two texts: does one follow, how similar are they, which answer fits?
#
# **Question.** An encoder reads one row of tokens. How does it read *two* texts, or a question with five answers? And
# how do you score a model whose answers are numbers, such as "these sentences are 3.8 of 5 similar"?
#
# **For example.** People gave three pairs 1, 3, 5; a model says 0.2, 0.3, 0.9. The order is the same:
# Spearman's correlation is 1, Pearson's 0.92.
#
# **Predict first.** A model returns 0.1, 0.2 and 0.9 where people said 1, 2 and 3. Is it perfect? By which measure?
#
# Here: two correlations by hand, pairs as one row of tokens, a small encoder that learns to infer, five answers in
# one softmax, and what three options save in memory.
#
# **You need.** Chapter 13.

# %%
import time
import tracemalloc

import matplotlib.pyplot as plt
import numpy as np

import tinygrad_llm as tg
from tinygrad_llm.study.lesson import save_plot

# %% [markdown]
# ## By hand: how well do numbers agree?
# Six pairs of JSTS, sentences that describe pictures, with the mean of what people said, from 0 to 5. (JGLUE, Kurihara
# et al., 2022, github.com/yahoojapan/JGLUE, licence CC BY-SA 4.0.) The "model" counts pairs of characters that both
# sentences have, divided by those that at least one has.

# %%
ROWS = [
    ("川べりでサーフボードを持った人たちがいます。", "トイレの壁に黒いタオルがかけられています。", 0.0),
    ("二人の男性がジャンボジェット機を見ています。", "2人の男性が、白い飛行機を眺めています。", 3.8),
    ("男性が子供を抱き上げて立っています。", "坊主頭の男性が子供を抱いて立っています。", 4.0),
    ("紙袋と傘を持った女性と2人の男性がいる。", "紙袋と傘を持った女性と2人の男性がいません。", 1.4),
    ("台所はきれいに片づけられています。", "キッチンは生理整頓されており、きれいな状態です。", 4.8),
    ("自転車のタイヤの横に傘が置いてあります。", "自転車のタイヤの横に靴が置いてあります。", 1.6),
]


def pieces(text):
    return {text[i : i + 2] for i in range(len(text) - 1)}


people = [score for _, _, score in ROWS]
shares = [len(pieces(a) & pieces(b)) / len(pieces(a) | pieces(b)) for a, b, _ in ROWS]
for (a, b, score), share in zip(ROWS, shares):
    print(f"people {score:.1f}   shared {share:.2f}   {a} | {b}")

# %% [markdown]
# **Pearson**: do the points lie on a rising line? Σ(x − x̄)(y − ȳ) / √(Σ(x − x̄)²·Σ(y − ȳ)²).
# **Spearman**: the same of the *ranks*: does y grow wherever x does, by any curve? Equal numbers share the mean of their places.

# %%
def pearson(x, y):
    n = len(x)
    x_mean, y_mean = sum(x) / n, sum(y) / n
    dx, dy = [v - x_mean for v in x], [v - y_mean for v in y]
    product = sum(a * b for a, b in zip(dx, dy))
    return product / (sum(a * a for a in dx) * sum(b * b for b in dy)) ** 0.5


def ranks(x):
    """1 for the smallest; a number's rank is the mean place of all numbers equal to it."""
    return [sum(v < own for v in x) + (sum(v == own for v in x) + 1) / 2 for own in x]


def spearman(x, y):
    return pearson(ranks(x), ranks(y))


print("ranks of what people said:", ranks(people))
print(f"shared characters: Pearson {pearson(shares, people):.3f}, Spearman {spearman(shares, people):.3f}")
cubes = [v**3 for v in people]
print(f"people and their cubes: Pearson {pearson(people, cubes):.3f}, Spearman {spearman(people, cubes):.3f}")
assert ranks([7, 3, 7]) == [2.5, 1.0, 2.5]
assert spearman(people, cubes) > 0.999 > pearson(people, cubes), "a curve that rises is perfect for one of them"
assert pearson(shares, people) < 0.2, "one word changes the meaning: shared characters say little on these six"

from tinygrad_llm.evaluation import correlation_intervals
from tinygrad_llm.evaluation import pearson as library_pearson
from tinygrad_llm.evaluation import spearman as library_spearman

assert abs(library_pearson(shares, people) - pearson(shares, people)) < 1e-12
assert abs(library_spearman(shares, people) - spearman(shares, people)) < 1e-12

# %% [markdown]
# With six pairs chance decides. The bootstrap draws other sets of six from them: look at the width.

# %%
interval = correlation_intervals(shares, people)["spearman"]
print("Spearman with its 95 % interval:", interval)
assert interval.high - interval.low > 0.8

# %% [markdown]
# ## Two texts are one row of tokens
# `[CLS] first [SEP] second [SEP]`; a second row says which text a token belongs to. Every token sees both texts, so
# that a word can look for its partner in the other sentence. The vector of `[CLS]` is classified.

# %%
from tinygrad_llm.finetune.pairs import (
    PairDataset, Row, collate_pairs, pair_ids, pair_scores, pair_trainer, predict_pairs,
)
from tinygrad_llm.finetune.pairs.tokenizer import make_tokenizer
from tinygrad_llm.finetune.sample_texts import questions, sentence_pairs
from tinygrad_llm.models import BertConfig, BertForSequenceClassification

pairs = sentence_pairs(1200)
tokenizer = make_tokenizer("bpe", [text for a, b, _, _ in pairs for text in (a, b)])
ids, types = pair_ids(tokenizer, pairs[0][0], pairs[0][1])
print([tokenizer.decode([i]) for i in ids])
print("which text:", types)
assert tokenizer.decode([ids[0]]) == "[CLS]" and types[0] == 0 and types[-1] == 1

# %% [markdown]
# ## With the package: does the second follow from the first?
# English pairs of our own making about who is where, so that the lesson needs no download. `tinygrad-llm finetune nli`
# does the same with JNLI, 2,434 Japanese pairs.

# %%
NAMES = ("contradiction", "entailment", "neutral")
for a, b, label, _ in pairs[:4]:
    print(f"{label:13}  {a}  |  {b}")
rows = [Row(a, (b,), NAMES.index(label)) for a, b, label, _ in pairs]
train, test = PairDataset(rows[:900], tokenizer), PairDataset(rows[900:], tokenizer)
shape = {"context_length": 64, "emb_dim": 64, "hidden_dim": 128, "n_heads": 4, "n_layers": 2}
config = BertConfig(tokenizer.vocab_size, **shape, drop_rate=0.0, attention_drop_rate=0.0, n_classes=3)
tg.manual_seed(1)
model = BertForSequenceClassification(config)
trainer = pair_trainer(model, train, steps=300, batch_size=32, lr=1e-3, progress=False)
trainer.run(plan=False)
right = predict_pairs(model, test).argmax(1) == test.labels
majority = max(np.bincount(train.labels)) / len(train)
print(f"accuracy {right.mean():.3f}; always the most frequent label: {majority:.3f}")
assert right.mean() > majority + 0.2

# %% [markdown]
# ## Five answers: one score each, one softmax
# Each answer is paired with its question. B questions with 5 answers are B·5 rows for the encoder, whose head has *one*
# output; the scores (B·5, 1) are reshaped to (B, 5), and cross-entropy asks for the right column.

# %%
asked = [Row(question, answers, answer) for question, answers, answer in questions(4)]
data = PairDataset(asked, make_tokenizer("char", [t for r in asked for t in (r.first, *r.seconds)]))
one = BertForSequenceClassification(BertConfig(200, **{**shape, "context_length": 80}, n_classes=1)).eval()
batch = collate_pairs([data[i] for i in range(4)])
with tg.no_grad():
    flat = one(batch["ids"], batch["attention_mask"], batch["token_type_ids"])  # (B·5, T) -> (B·5, 1)
    scores = pair_scores(one, batch)  # (B, 5)
print("rows", tuple(batch["ids"].shape), "-> scores", tuple(flat.shape), "-> shape", tuple(scores.shape))
assert tuple(flat.shape) == (20, 1) and tuple(scores.shape) == (4, 5)
assert float(scores[2, 3]) == float(flat[2 * 5 + 3, 0]), "row 5·q + a is answer a of question q"

# %% [markdown]
# ## What the options of long runs save
# The peak of what a step allocates. *Accumulation* reads 4 × 8 pairs in place of 32 and adds the gradients.
# *Checkpointing* keeps each block's input and computes the rest again. *LoRA* needs no gradients and no AdamW moments
# of the large matrices. All four take the same options on the command line (`--accumulation`, `--gradient-checkpointing`,
# `--lora`); on a GPU `--precision bfloat16` halves the activations.

# %%
from tinygrad_llm.layers import lora

wide = {**shape, "emb_dim": 128, "hidden_dim": 512, "n_layers": 4}


def step_memory(batch_size=32, with_lora=False, **options):
    """(peak in MB, loss after two steps)."""
    tg.manual_seed(1)
    model = BertForSequenceClassification(BertConfig(tokenizer.vocab_size, **wide, n_classes=3))
    if with_lora:
        lora.add(model, 8, 16.0, 0.0, ["att.*", "ff.*"], modules_to_save=["pooler", "classifier"])
    trainer = pair_trainer(model, train, steps=2, batch_size=batch_size, lr=1e-4, progress=False, **options)
    tracemalloc.start()
    loss = trainer.run(plan=False).loss
    peak = tracemalloc.get_traced_memory()[1] / 1e6
    tracemalloc.stop()
    return peak, loss


ways = {
    "as it is": {}, "accumulation 4": {"batch_size": 8, "accumulation": 4},
    "checkpointing": {"gradient_checkpointing": True}, "LoRA": {"with_lora": True},
    "all three": {"batch_size": 8, "accumulation": 4, "gradient_checkpointing": True, "with_lora": True},
}
peaks = {}
for name, options in ways.items():
    began = time.process_time()
    peaks[name], loss = step_memory(**options)
    print(f"{name:15} {peaks[name]:6.1f} MB   loss {loss:.4f}   {time.process_time() - began:.1f} s")
    if name == "as it is":
        plain_loss = loss
    if name == "checkpointing":
        assert loss == plain_loss, "the same numbers to the last bit"
assert peaks["checkpointing"] < peaks["as it is"] and peaks["accumulation 4"] < peaks["as it is"]
assert min(peaks, key=peaks.get) == "all three"

figure, axes = plt.subplots(1, 2, figsize=(11, 4))
axes[0].plot(people, shares, "o"), axes[0].set_xlabel("what people said"), axes[0].set_ylabel("shared characters")
axes[0].set_title(f"six pairs: Spearman {spearman(shares, people):.2f}")
axes[1].barh(list(peaks), list(peaks.values())), axes[1].set_xlabel("peak of two steps in MB")
axes[1].invert_yaxis()
save_plot(figure, "03_pairs")

# %% [markdown]
# ## Exercises
# 1. Compute Spearman's correlation without ranks that are shared: give equal numbers the places 1, 2, 3 … in their
#    order. What does a model get that returns the same number for every pair?
# 2. Show that the softmax over five answers does not change if the same number is added to all five scores. Why does a
#    separate yes-or-no for each answer (a sigmoid) lose that?
# 3. JNLI has many sentences in two pairs. Split rows at random, and count the test pairs with a sentence that
#    training has seen; then split by groups (`finetune.splits.group_split`).
#
# Solutions: `lessons/solutions/14_tagging_and_similarity/03_pairs.py`
