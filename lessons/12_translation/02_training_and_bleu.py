# ---
# jupyter:
#   jupytext:
#     text_representation: {extension: .py, format_name: percent}
# ---

# %% [markdown]
# # 2. Training a translator, and how good is it?
#
# **Question.** A model writes translations. How is it trained on pairs, and what does a BLEU of 25 mean?
#
# **For example.** "the cat sat" against the reference "the cat sat down": all 3 words match, and 2 pairs, but
# one word is missing. BLEU lowers its score for that.
#
# **Predict first.** A reference says "the cat is on the mat". One system writes "the the the the the the", another
# "on the mat". Which shares of their words are in the reference? Should either get a good score?
#
# **You need.** Lesson 1, chapter 05.

# %%
import math
from collections import Counter

import matplotlib.pyplot as plt

import tinygrad_llm as torch
import tinygrad_llm.nn.functional as F
from tinygrad_llm import nn
from tinygrad_llm.study.lesson import save_plot

# %% [markdown]
# ## By hand: the loss is a distance of distributions, nearly
# The cross-entropy −Σ p·log q of a true distribution p and a model's q is the entropy of p plus the KL divergence
# of both. Training changes only the second. Here p and q are normal distributions on a grid.

# %%
def grid_normal(x, mean, std):
    p = torch.exp(-((x - mean) ** 2) / (2 * std**2))
    return p / p.sum()


x = torch.arange(-10, 11).double()
p, near, far = grid_normal(x, 0.0, 1.0), grid_normal(x, 0.5, 1.0), grid_normal(x, 1.0, 1.0)
entropy = -(p * p.log()).sum()
for name, q in (("itself", p), ("shifted by 0.5", near), ("shifted by 1", far)):
    cross, kl = -(p * q.log()).sum(), (p * (p / q).log()).sum()
    print(f"cross-entropy with {name:15} {cross.item():.4f} = entropy {entropy.item():.4f} + KL {kl.item():.4f}")
    assert abs((cross - entropy - kl).item()) < 1e-9
assert abs(entropy.item() - 0.5 * math.log(2 * math.pi * math.e)) < 1e-6  # that of a normal distribution

# %% [markdown]
# `CrossEntropyLoss` takes *logits* and softmaxes them. Probabilities passed in their place are softmaxed once more:
# the number looks like a loss and is wrong.

# %%
q, p = torch.tensor([[0.1, 0.2, 0.7]]), torch.tensor([[0.7, 0.2, 0.1]])
wrong, right = nn.CrossEntropyLoss()(q, p), nn.CrossEntropyLoss()(q.log(), p)
print(f"probabilities as logits: {wrong.item():.4f}; logarithms of probabilities: {right.item():.4f}")
assert abs(wrong.item() - 1.28795) < 1e-5 and abs(right.item() + (p * q.log()).sum().item()) < 1e-6

# %% [markdown]
# ## By hand: label smoothing
# A target of probability 1 asks for an infinite logit. With ε = 0.1 the target is 1 − ε for the right word, and ε
# is spread over all V words. The best loss is then not 0: it is the entropy of that target.

# %%
V, smoothing = 5, 0.1
target = torch.full((V,), smoothing / V)
target[2] += 1.0 - smoothing
logits = torch.tensor([[0.3, -1.0, 2.0, 0.1, 0.0]])
by_hand = -(target * F.log_softmax(logits, dim=-1)[0]).sum()
print(f"smoothed loss {by_hand.item():.4f}; the best possible is {-(target * target.log()).sum().item():.4f}")
assert abs(F.cross_entropy(logits, torch.tensor([2]), label_smoothing=smoothing).item() - by_hand.item()) < 1e-6

# %% [markdown]
# ## By hand: schedules
# The paper's rate rises for the first steps and then falls with 1/√step. Others fall in stairs: StepLR(10, 0.95).

# %%
def papers_rate(step, channels=512, warmup=4000):
    return channels**-0.5 * min(step**-0.5, step * warmup**-1.5)


print("the paper's rate at steps 1, 4,000, 100,000:", ", ".join(f"{papers_rate(s):.2e}" for s in (1, 4000, 100_000)))
optimizer = torch.optim.SGD([nn.Parameter(torch.zeros(1))], lr=1.0)
stairs = torch.optim.lr_scheduler.StepLR(optimizer, 10, 0.95)
rates = []
for _ in range(30):
    rates.append(optimizer.param_groups[0]["lr"])
    optimizer.step()
    stairs.step()
print("StepLR(10, 0.95) at steps 0, 10, 20:", ", ".join(f"{rates[s]:.4f}" for s in (0, 10, 20)))
assert all(abs(rate - 0.95 ** (step // 10)) < 1e-9 for step, rate in enumerate(rates))

# %% [markdown]
# ## By hand: BLEU
# Count the runs of 1, 2, 3 and 4 words that the reference has too, each at most as often as it stands there. Add
# the counts of the whole test set, and only then divide: p₁ to p₄. BLEU is 100 times their geometric mean, times a
# penalty exp(1 − r/c) if the c words written are fewer than the r words of the references.

# %%
def runs(words, n):
    return Counter(tuple(words[i : i + n]) for i in range(len(words) - n + 1))


def bleu(translations, references):
    matches, totals, c, r = [0] * 4, [0] * 4, 0, 0
    for text, reference in zip(translations, references, strict=True):
        a, b = text.split(), reference.split()
        c, r = c + len(a), r + len(b)
        for n in range(4):
            matches[n] += sum((runs(a, n + 1) & runs(b, n + 1)).values())
            totals[n] += max(len(a) - n, 0)
    shares = [m / t for m, t in zip(matches, totals, strict=True)]
    penalty = 1.0 if c >= r else math.exp(1.0 - r / c)
    return 100.0 * penalty * math.exp(sum(map(math.log, shares)) / 4), shares, penalty


reference = ["the cat is on the mat .", "there is a dog in the garden ."]
written = ["the cat sat on the mat .", "a dog is in the garden ."]
score, shares, penalty = bleu(written, reference)
print(f"BLEU {score:.2f}, shares {', '.join(f'{s:.2f}' for s in shares)}, penalty {penalty:.3f}")
the = sum((runs("the the the the the the".split(), 1) & runs(reference[0].split(), 1)).values())
print(f"'the' six times: {the} of 6 count")
assert the == 2 and bleu(reference, reference)[0] > 99.999

# %% [markdown]
# ## With the package
# The same score, equal to sacrebleu's where that is installed; then a tiny translator, trained on sentences that
# the package makes itself: sources of shape (B, S), labels of shape (B, T), sorted by length so that a batch of 1,000
# tokens has little padding. (The published corpus and a real size: `tinygrad-llm finetune translate`.)

# %% tags=["package"]
import time

from tinygrad_llm.evaluation.bleu import corpus_bleu
from tinygrad_llm.finetune.sequences import PairDataset, sequence_trainer, write
from tinygrad_llm.finetune.translation import TranslationMemory, sentence_pairs
from tinygrad_llm.models import Transformer, TransformerConfig
from tinygrad_llm.text import SimpleTokenizer

assert abs(corpus_bleu(written, reference, cut="spaces").score - score) < 1e-9
try:
    import sacrebleu

    theirs = sacrebleu.corpus_bleu(written, [reference], tokenize="none", force=True).score
    print(f"sacrebleu: {theirs:.4f}, by hand {score:.4f}")
    assert abs(theirs - score) < 1e-9
except ImportError:
    print("sacrebleu is not installed: pip install 'tinygrad-llm[evaluation]'")

pairs = sentence_pairs(1000)
train, test = pairs[:900], pairs[900:]
ja, en = (SimpleTokenizer.train("\n".join(row[side] for row in train), cut="blanks") for side in (0, 1))
ends = ja.eot_token, en.eot_token
data = PairDataset(train, ja, en, ends)
torch.manual_seed(123)
model = Transformer(TransformerConfig(
    vocab_size=en.vocab_size, source_vocab_size=ja.vocab_size, context_length=24, emb_dim=48, hidden_dim=96,
    n_layers=1, n_decoder_layers=1, n_heads=4, start_token_id=ends[1], pad_token_id=ends[1],
))  # fmt: skip
began = time.perf_counter()
sources = PairDataset(test, ja, en, ends).sources
references = [target for _, target in test]
curve = []
trainer = sequence_trainer(
    model, data, steps=240, batch_tokens=1000, lr=4e-3, label_smoothing=0.1, weight_decay=0.0, beta2=0.98,
    progress=False,
)  # fmt: skip
for steps in range(0, 241, 60):
    trainer.steps = steps
    if steps:
        trainer.run(plan=False)
    texts = [en.decode(ids) for ids in write(model, sources, 20, end=ends[1])]
    curve.append(corpus_bleu(texts, references, cut="spaces").interval())
    print(f"after {steps:3} steps: BLEU {curve[-1].value:6.2f} [{curve[-1].low:.2f}, {curve[-1].high:.2f}]")
memory = TranslationMemory(data.sources, [target for _, target in train])
base = corpus_bleu(memory.translate(sources), references, cut="spaces").interval()
print(f"the most similar training sentence: {base.value:.2f} [{base.low:.2f}, {base.high:.2f}], the baseline")
print(f"{test[0][0]}\n = {test[0][1]}\n-> {texts[0]}\n{time.perf_counter() - began:.0f} s")
assert curve[-1].low > base.high, "it says what the source says, not something similar"

# %% tags=["package"]
figure, axes = plt.subplots(figsize=(7, 4))
steps = [0, 60, 120, 180, 240]
axes.errorbar(steps, [c.value for c in curve], fmt="o-", label="translator",
              yerr=[[c.value - c.low for c in curve], [c.high - c.value for c in curve]])  # fmt: skip
axes.axhspan(base.low, base.high, color="tab:orange", alpha=0.3, label="most similar training sentence")
axes.set_xlabel("steps"), axes.set_ylabel("BLEU with its 95 % interval"), axes.legend()
save_plot(figure, "02_training_and_bleu")

# %% [markdown]
# ## Exercises
# 1. A system writes only the words it is sure of: half of each reference, all correct. Compute its BLEU for
#    p₁ = p₂ = p₃ = p₄ = 1. What would the score be without the penalty?
# 2. Why are counts added over the test set before dividing? Compute the mean of the BLEU of single sentences for
#    `written` and say what goes wrong.
# 3. At which step does the paper's schedule with warmup = 4,000 have the same rate as at step 1,000?
#
# Solutions: `lessons/solutions/12_translation/02_training_and_bleu.py`
