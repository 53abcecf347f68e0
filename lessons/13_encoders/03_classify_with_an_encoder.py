# ---
# jupyter:
#   jupytext:
#     text_representation: {extension: .py, format_name: percent}
# ---

# %% [markdown]
# # 3. Classify with an encoder, and with a word count
#
# **Question.** A text is to be sorted into classes. A GPT reads it from left to right, a BERT sees the whole
# text, a regression on word counts does not even know the order of the words. When is which one needed?
#
# **For example.** "great" stands in 90 % of the good reviews: counting words may score 85 %. An encoder must
# be better than that, not better than 50 %.
#
# **Predict first.** "ann beat bob" and "bob beat ann" have different winners. How often will a word count be right?
# And on messages of which some begin with "WINNER!"?
#
# **You need.** Lesson 2, chapter 06.

# %%
import matplotlib.pyplot as plt
import numpy as np

from tinygrad_llm import manual_seed
from tinygrad_llm.study.lesson import save_plot

draw = np.random.default_rng(3)
NAMES, GAMES = "ann bob cem dan eva".split(), "chess tennis go cards".split()


def match():
    """(a sentence, whether ann won); ann always plays."""
    other, won = str(draw.choice(NAMES[1:])), int(draw.integers(2))
    first, second = ("ann", other) if won else (other, "ann")
    game = str(draw.choice(GAMES))
    return f"yesterday at {game} {first} beat {second}", won


rows = [match() for _ in range(1000)]
train, val, test = rows[:600], rows[600:700], rows[700:]
print(rows[:3])

# %% [markdown]
# ## By hand: logistic regression on counts
# Shapes: N sentences, V words; B batch, T time (tokens), C channels in the networks below.
#
# log p(class 1) − log p(class 0) = b + Σ w[word]·count[word]. The gradient of the loss is (p − label)·count.

# %%
words = sorted({w for text, _ in train for w in text.split()})
place = {w: i for i, w in enumerate(words)}


def counts(rows):
    table = np.zeros((len(rows), len(words)))
    for row, (text, _) in zip(table, rows):
        for w in text.split():
            row[place[w]] += w in place
    return table


def fit(rows, steps=300, lr=0.5):
    X, y = counts(rows), np.array([label for _, label in rows])  # (N, V), (N)
    w, b = np.zeros(len(words)), 0.0
    for _ in range(steps):
        p = 1 / (1 + np.exp(-(X @ w + b)))  # (N)
        w -= lr * (X.T @ (p - y)) / len(y)  # (V)
        b -= lr * (p - y).mean()
    return w, b


assert counts(test).shape == (len(test), len(words))
w, b = fit(train)
right = ((counts(test) @ w + b > 0) == [label for _, label in test]).mean()
print(f"word counts: {right:.1%} of the test")
assert 0.4 < right < 0.6, "both sentences have the same words"

# %% [markdown]
# A coin. The sums over words are the same for "ann beat bob" and "bob beat ann": no weights can tell them apart.
#
# ## With the package: three classifiers of one size
# `GPTClassifier` takes a GPT or an encoder. Of a GPT the last real token stands for the text, because only that one
# saw all of it; of a BERT it is [CLS], the first.

# %% tags=["package"]
from tinygrad_llm.evaluation import bootstrap, paired_difference
from tinygrad_llm.finetune import (
    GPTClassifier,
    TextClassificationDataset,
    classification_trainer,
    evaluate_classifier,
)
from tinygrad_llm.finetune.counts import CountsBaseline
from tinygrad_llm.models import GPT, BertConfig, BertForMaskedLM, GPTConfig, RobertaConfig, RobertaForMaskedLM
from tinygrad_llm.text import BPETokenizer
from tinygrad_llm.text.tokenizer import ENCODER_TOKENS

BERT_LIKE = dict(context_length=32, emb_dim=32, hidden_dim=128, n_heads=4, n_layers=2, drop_rate=0.0,
                 attention_drop_rate=0.0)


def network(kind, train, val, folder, epochs=6):
    """A trained classifier and its tokenizer."""
    special = ("<|endoftext|>",) if kind == "GPT" else ENCODER_TOKENS
    tokenizer = BPETokenizer.train([text for text, _ in train], 256 + len(special) + 30, special)
    pad = tokenizer.eot_token if kind == "GPT" else tokenizer.pad_token
    V = tokenizer.vocab_size
    manual_seed(2)
    if kind == "GPT":
        body = GPT(GPTConfig(V, 32, 32, 4, 2, drop_rate=0.0))
    elif kind == "BERT":
        body = BertForMaskedLM(BertConfig(V, **BERT_LIKE))
    else:
        body = RobertaForMaskedLM(RobertaConfig(V, **BERT_LIKE, pad_token_id=None))
    model = GPTClassifier(body, 2, pad_token_id=pad)
    sets = [TextClassificationDataset(part, tokenizer, 32, pad) for part in (train, val)]
    classification_trainer(
        model, *sets, epochs=epochs, lr=2e-3, batch_size=16, folder=folder, progress=False, eval_every=10**9
    ).run()
    return model, tokenizer, pad


import tempfile

reports, answers = {}, {}
labels = np.array([label for _, label in test])
answers["counts"] = CountsBaseline.fit(train, val, 2).right(test)
with tempfile.TemporaryDirectory() as folder:
    for kind in ("GPT", "BERT", "RoBERTa"):
        model, tokenizer, pad = network(kind, train, val, f"{folder}/{kind}")
        data = TextClassificationDataset(test, tokenizer, 32, pad)
        reports[kind] = evaluate_classifier(model, data, ["lost", "won"])
        answers[kind] = reports[kind].right
for kind, score in answers.items():
    print(f"{kind:8} {bootstrap(score)}   minus counts {paired_difference(score, answers['counts'])}")
assert min(answers[kind].mean() for kind in reports) > 0.9

# %% [markdown]
# The interval says what another test set of 300 sentences could have shown; that of the *difference* compares both
# on the same sentences, and has no 0 in it: the networks know the order.
#
# ## The other case: words are enough
# On simple spam the count is as good as a network, in less time. A result without such a baseline says little.

# %%
from tinygrad_llm.finetune.sample_texts import labelled_texts

spam = [(text, int(label == "spam")) for text, label in labelled_texts()]
spam = [spam[i] for i in np.random.default_rng(0).permutation(len(spam))]
counted = CountsBaseline.fit(spam[:500], spam[500:600], 2).right(spam[600:])
print(f"word counts on the sample of spam: {bootstrap(counted)}")
assert counted.mean() > 0.98

# %% [markdown]
# ## Error analysis: read the worst examples
# Two in a hundred labels of the test are turned round, as people err. The texts with the highest loss are these:
# the model says that the label is wrong, and it is right.

# %%
turned = set(np.random.default_rng(5).choice(len(test), 6, replace=False).tolist())
noisy = [(text, 1 - label if i in turned else label) for i, (text, label) in enumerate(test)]
data = TextClassificationDataset(noisy, tokenizer, 32, pad)
report = evaluate_classifier(model, data, ["lost", "won"])
print(report)
print(report.worst_table([text for text, _ in noisy], 6))
seen = len(turned & set(report.worst(6)))
print(f"{seen} of the 6 wrong labels are among the 6 highest losses")
assert seen >= 4

figure, (left, right) = plt.subplots(1, 2, figsize=(11, 4))
for i, (kind, score) in enumerate(answers.items()):
    interval = bootstrap(score)
    left.errorbar([i], [interval.value], [[interval.value - interval.low], [interval.high - interval.value]], fmt="o",
                  capsize=5)
left.set_xticks(range(len(answers)), list(answers)), left.set_ylabel("accuracy, 95 % interval"), left.set_ylim(0, 1.05)
left.set_xlim(-0.5, len(answers) - 0.5)  # whole names below the axis
losses = np.sort(report.losses)[::-1]
right.semilogy(losses[:40], "."), right.set_xlabel("text, the worst first"), right.set_ylabel("loss, nats")
save_plot(figure, "03_classify_with_an_encoder")

# %% [markdown]
# For real texts: `tinygrad-llm finetune classify --model bert`, `finetune compare` for long ones and
# `finetune variations` for the spam experiment in 19 forms. Each prints the baseline beside its score.
#
# ## Exercises
# 1. Give the regression pairs of words ("ann beat") in place of words. What does it reach now, and what would need
#    triples?
# 2. Pool the GPT by its *first* token. What does it reach, and why?
# 3. How many test sentences are needed to say that 97 % is better than 95 %?
#
# Solutions: `lessons/solutions/13_encoders/03_classify_with_an_encoder.py`
