# ---
# jupyter:
#   jupytext:
#     text_representation: {extension: .py, format_name: percent}
# ---

# %% [markdown]
# # 3. Headlines: five ways of writing side by side
#
# **Question.** A trained model gives a probability to every next word. Greedy, beams, sampling, top-k, top-p: five
# ways to turn probabilities into a text. Which one writes the best headline, and compared with what?
#
# **For example.** Scores of 0.42 ± 0.05 for greedy and 0.44 ± 0.05 for beams: with these intervals neither
# has won.
#
# **Predict first.** A headline has one right answer, nearly. Will drawing words at random be better or worse than
# taking the most likely one? And will a model beat a program that learns nothing and copies the first six words?
#
# The data: reports made by this package, each with a headline; who did what where is hidden between other sentences.
#
# **You need.** Lessons 1 and 2, chapter 12, lesson 3.

# %%
import math
import random

import matplotlib.pyplot as plt

import tinygrad_llm as tl
from tinygrad_llm.study.lesson import full_run, save_plot

# %% [markdown]
# ## By hand: five ways on one distribution
# Five words with these probabilities follow. Greedy takes the first. Sampling draws from all; top-k from the k most
# likely; top-p from the fewest that have the share p together. A temperature below 1 makes likely words likelier.

# %%
words = ["opens", "sells", "paints", "loses", "banana"]
p = [0.45, 0.30, 0.15, 0.08, 0.02]  # shape (5)


def kept(p, k=None, share=None):
    """The probabilities that are left, divided by their sum."""
    left = p[:k] if k is not None else p
    if share is not None:
        n = next(i + 1 for i in range(len(p)) if sum(p[: i + 1]) >= share - 1e-9)
        left = left[:n]
    return [v / sum(left) for v in left]


def sharper(p, temperature):
    powers = [v ** (1 / temperature) for v in p]  # softmax(log p / temperature)
    return [v / sum(powers) for v in powers]


ways = {"greedy": [1.0], "sampling": p, "temperature 0.5": sharper(p, 0.5), "top-k 2": kept(p, k=2), "top-p 0.9": kept(p, share=0.9)}
for name, q in ways.items():
    print(f"{name:16}", "  ".join(f"{w} {v:.2f}" for w, v in zip(words, q)))
assert len(ways["top-p 0.9"]) == 3 and abs(ways["top-k 2"][0] - 0.6) < 1e-9
assert ways["temperature 0.5"][0] > 0.6 and ways["temperature 0.5"][-1] < 0.002
draws = random.Random(0).choices(words, p, k=1000)
print("of 1,000 drawn words", draws.count("banana"), "are banana: rare words do come, and a text has many words")
assert 5 < draws.count("banana") < 40

# %% [markdown]
# Beams look ahead. The best first word need not begin the best text: here greedy takes A, then has nothing good.

# %%
tree = {"A": (0.6, {"x": 0.5, "y": 0.5}), "B": (0.4, {"z": 0.9, "w": 0.1})}
texts = {first + second: a * b for first, (a, after) in tree.items() for second, b in after.items()}
greedy = max(tree, key=lambda k: tree[k][0])
greedy += max(tree[greedy][1], key=tree[greedy][1].get)
best = max(texts, key=texts.get)
print(f"greedy {greedy}: {texts[greedy]:.2f}   best {best}: {texts[best]:.2f}, which 2 beams find")
assert greedy[0] == "A" and best == "Bz"

# %% [markdown]
# ## With the package
# One trainer for pairs of texts, `write` for many sources, and `rouge` for the scores. The model is a T5 of random
# weights with one block on each side.

# %% tags=["package"]
from tinygrad_llm import finetune, models
from tinygrad_llm.evaluation import bootstrap, paired_difference, rouge
from tinygrad_llm.finetune.sequences import PairDataset, sequence_trainer, write
from tinygrad_llm.finetune.summaries import reports
from tinygrad_llm.finetune.summaries.data import add_pairs, restored_sentences
from tinygrad_llm.text import BPETokenizer

full = full_run("trains five times as long: about two minutes on two cores")
rows = reports(1300)
train, test = rows[:1200], rows[1200:]
print(train[0][0], "\n  =", train[0][1])
tokenizer = BPETokenizer.train([text for row in train for text in row], 480)
end = tokenizer.eot_token
pairs = PairDataset(train, tokenizer, tokenizer, (end, end))

# %% [markdown]
# To write a name into a headline, the decoder must find it in the report and copy it. From headlines alone that takes
# long to learn. So sentences with gaps stand beside the pairs, to be written out whole: most of such a text is copied.

# %% tags=["package"]
gaps = restored_sentences(train, 1.0, seed=0)
print(gaps[0][0], "\n  =", gaps[0][1])
more = PairDataset(gaps, tokenizer, tokenizer, (end, end))
add_pairs(pairs, more.sources, more.targets)
tl.manual_seed(1)
model = models.T5(models.T5Config(
    vocab_size=tokenizer.vocab_size, context_length=80, emb_dim=64, hidden_dim=192, n_layers=1, n_decoder_layers=1,
    n_heads=4, head_dim=16, drop_rate=0.0, start_token_id=end, pad_token_id=end,
))
steps = 2000 if full else 400
result = sequence_trainer(model, pairs, steps=steps, batch_tokens=1200, lr=5e-3, progress=False).run()
print(f"{model.n_parameters():,} parameters, {steps} steps in {result.seconds:.0f} s")

# %% tags=["package"]
sources = PairDataset(test, tokenizer, tokenizer, (end, end)).sources
drawn = {"temperature": 1.0, "seed": 1}
options = {"greedy": {}, "4 beams": {"num_beams": 4, "length_penalty": 1.0}, "sampling": drawn,
           "top-k 5": {**drawn, "top_k": 5}, "top-p 0.8": {**drawn, "top_p": 0.8}}
written = {"first 6 words": [" ".join(text.split()[:6]) for text, _ in test]}
for name, option in options.items():
    written[name] = [tokenizer.decode(ids) for ids in write(model, sources, 16, end=end, **option)]
headlines = [headline for _, headline in test]
scores = {name: rouge(texts, headlines)["rougeL"] for name, texts in written.items()}
for name, score in scores.items():
    equal = sum(a == b for a, b in zip(written[name], headlines))
    print(f"{name:14} ROUGE-L {score.interval()}, {equal:3} of {len(test)} equal   {written[name][0]}")
print(" " * 57, "the headline:", headlines[0])
assert scores["greedy"].f1.mean() > scores["first 6 words"].f1.mean() + 0.2
gain = paired_difference(scores["greedy"].f1, scores["sampling"].f1)
print(f"greedy - sampling {gain.value:+.3f} [{gain.low:+.3f}, {gain.high:+.3f}]")
assert gain.value > 0

# %% [markdown]
# A headline has one right answer, so the ways that draw lose what they draw wrongly. For a story it is the other way
# round: greedy repeats itself. `summarize` is the one call; `tinygrad-llm finetune summarize` does all of this on real
# texts, the docstrings of Python, where a model of this size learns much less: look at its intervals.

# %% tags=["package"]
text = "It rained all day. On Monday the school in Farley sold an old boat. The costs are not known yet."
print(finetune.summarize(model, tokenizer, text, max_new_tokens=16))
assert bootstrap(scores["greedy"].f1) == scores["greedy"].interval()

figure, axes = plt.subplots(figsize=(9, 3.6))
intervals = {name: score.interval() for name, score in scores.items()}
values = [i.value for i in intervals.values()]
errors = [[i.value - i.low for i in intervals.values()], [i.high - i.value for i in intervals.values()]]
axes.barh(list(intervals), values, xerr=errors), axes.invert_yaxis(), axes.set_xlabel("ROUGE-L, mean F1 with its 95 % interval")
save_plot(figure, "03_headlines")

# %% [markdown]
# ## Exercises
# 1. With temperature 0.5, what is the chance that a text of 8 words, each drawn from the five words above, has no
#    banana? And without a temperature?
# 2. A length penalty divides the log-probability of a beam by length^α. Which of two finished texts wins for α = 0
#    and for α = 1: 3 words of log-probability −3.0, or 6 words of −4.2?
# 3. Score the baseline "the second sentence's first six words" instead of the first. Is it better, and why?
#
# Solutions: `lessons/solutions/15_summaries/03_headlines.py`
