# ---
# jupyter:
#   jupytext:
#     text_representation: {extension: .py, format_name: percent}
# ---

# %% [markdown]
# # 2. BERT: guess a hidden word from both sides
#
# **Question.** A GPT reads from left to right. In "[MASK] opened her bag" the word that tells who it was comes
# *after* the gap. How must a model look, and how is it trained, so that it may use both sides?
#
# **For example.** "The [MASK] barked." The word before and the word behind both help: "dog". A GPT would have
# to guess after "The".
#
# **Predict first.** If every token may see every other token, why can the model not be trained to predict the
# next token any more?
#
#     hide       15 % of the words: 80 % of them become [MASK], 10 % a random token, 10 % stay as they are
#     guess      the hidden tokens, and nothing else counts in the loss
#     input      x = token embedding + position embedding + embedding of the text's number (0 or 1), then a norm
#
# Source: Devlin et al. (2018), "BERT".
#
# **You need.** Lesson 1, chapter 04.

# %%
import matplotlib.pyplot as plt
import numpy as np

import tinygrad_llm as torch
import tinygrad_llm.nn.functional as F
from tinygrad_llm import nn
from tinygrad_llm.study.lesson import save_plot

torch.manual_seed(1)
draw = np.random.default_rng(1)

# %% [markdown]
# Shapes: B batch, T time (tokens), C channels, V vocabulary.
#
# ## By hand: attention without the triangle
# One head, five tokens. Change the last token: with the causal mask no other output moves, without it all do.

# %%
T, C = 5, 8
w_q, w_k, w_v = (torch.randn(C, C) / C**0.5 for _ in range(3))


def attend(x, causal):
    scores = (x @ w_q) @ (x @ w_k).T / C**0.5  # (T, T)
    if causal:
        scores = scores.masked_fill(torch.ones(T, T).triu(1) == 1, -torch.inf)
    return torch.softmax(scores, dim=-1) @ (x @ w_v)  # (T, C)


x = torch.randn(T, C)
assert attend(x, True).shape == (T, C)
other = x.clone()
other[-1] = torch.randn(C)
for causal in (True, False):
    moved = (attend(x, causal) - attend(other, causal)).abs().amax(dim=1) > 1e-6  # (T)
    print("causal" if causal else "both sides", "- outputs that moved:", moved.tolist())
    assert moved[:-1].any().item() is not causal

# %% [markdown]
# With both sides visible, "predict the next token" would be copying: it stands there. So a BERT hides what it has
# to guess.
#
# ## By hand: whole words, 80 / 10 / 10
# A word can have several tokens. If only "##ing" is hidden behind "walk", the guess is easy; so all tokens of a
# word are hidden together. `word` says which word each token belongs to; −1 is a special token, never hidden.

# %%
tokens = "[CLS] the walk ##ing dog bark ##ed loud ##ly [SEP]".split()
word = np.array([-1, 0, 1, 1, 2, 3, 3, 4, 4, -1])
names = sorted(set(tokens))


def hide(tokens, word, probability=0.15):
    """(what the model sees, what it has to say: None where nothing is asked)."""
    chosen = draw.random(word.max() + 1) < probability  # a coin for each word
    seen, asked = list(tokens), [None] * len(tokens)
    for i, number in enumerate(word):
        if number < 0 or not chosen[number]:
            continue
        asked[i], coin = tokens[i], draw.random()
        if coin < 0.8:
            seen[i] = "[MASK]"
        elif coin < 0.9:
            seen[i] = str(draw.choice(names))
    return seen, asked


for _ in range(4):
    print(" ".join(hide(tokens, word, 0.4)[0]))
made = [hide(tokens, word) for _ in range(6000)]
asked = np.array([[a is not None for a in row] for _, row in made])
hidden = np.array([[s == "[MASK]" for s in row] for row, _ in made])
print(f"hidden {hidden[asked].mean():.1%} of the {asked[:, 1:-1].mean():.1%} that were chosen")
assert abs(asked[:, 1:-1].mean() - 0.15) < 0.01 and abs(hidden[asked].mean() - 0.8) < 0.02
assert (asked[:, 2] == asked[:, 3]).all(), "the two tokens of walking are chosen together"

# %% [markdown]
# Why not always [MASK]? In use there is no [MASK] in a text. A model that only ever worked where it saw [MASK]
# would have no reason to understand the other tokens. The 20 % that look normal force it to check every token.
#
# ## A language of which a GPT cannot know the beginning
# The first word agrees with "he" or "she" further right; the drink agrees with the time of day.

# %%
WOMEN, MEN = "ann eva mia zoe".split(), "bob dan leo max".split()
DRINKS = {"morning": ["coffee", "cocoa"], "evening": ["wine", "beer"]}


def sentence():
    woman, time = draw.random() < 0.5, str(draw.choice(list(DRINKS)))
    name = str(draw.choice(WOMEN if woman else MEN))
    drink = str(draw.choice(DRINKS[time]))
    return f"{name} had {drink} in the {time} because {'she' if woman else 'he'} was tired".split()


special = ["[PAD]", "[CLS]", "[SEP]", "[MASK]"]
vocabulary = special + sorted({w for _ in range(400) for w in sentence()})
number = {w: i for i, w in enumerate(vocabulary)}


def ids_of(words):
    return [number["[CLS]"], *(number[w] for w in words), number["[SEP]"]]


ids = np.array([ids_of(sentence()) for _ in range(2000)])  # (N, T)
print(len(vocabulary), "tokens;", " ".join(vocabulary[i] for i in ids[0]))

# %% [markdown]
# ## With the package
# `BertForMaskedLM` is the model, `mask_tokens` what `hide` does, for whole batches. The loss is the cross-entropy of
# the chosen tokens alone; labels of −100 do not count.

# %% tags=["package"]
from tinygrad_llm.data.masking import Masking, mask_tokens
from tinygrad_llm.models import BertConfig, BertForMaskedLM
from tinygrad_llm.models.base import init_normal
from tinygrad_llm.random import Generator

config = BertConfig(len(vocabulary), 16, 48, 192, 4, 2, drop_rate=0.0, attention_drop_rate=0.0)
model = BertForMaskedLM(config)
init_normal(model, 0.08)  # 0.02 fits 768 channels; narrow matrices must be wider at the start
masking = Masking(number["[MASK]"], number["[CLS]"], number["[SEP]"], len(vocabulary))
generator = Generator().manual_seed(1)
optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3)
losses = []
for step in range(400):
    batch = ids[draw.integers(0, len(ids), 48)]  # (B, T)
    inputs, labels = mask_tokens(batch, batch < 4, masking, generator)
    loss = model.loss(torch.tensor(inputs), torch.tensor(labels))
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
    losses.append(loss.item())
print(f"loss {losses[0]:.2f} at the beginning, {np.mean(losses[-50:]):.2f} at the end")

# %% tags=["package"]
def fill(text, top=4):
    """The likeliest words for each [MASK]."""
    row = torch.tensor([[number["[CLS]"], *(number[w] for w in text.split()), number["[SEP]"]]])
    with torch.no_grad():
        shares = torch.softmax(model.eval()(row), dim=-1)[0]  # (1, T, V) -> (T, V)
    answers = []
    for place in (row[0] == number["[MASK]"]).nonzero().flatten().tolist():
        best = shares[place].topk(top)
        answers.append({vocabulary[i]: p for i, p in zip(best.indices.tolist(), best.values.tolist())})
    return answers


she = fill("[MASK] had wine in the evening because she was tired")[0]
he = fill("[MASK] had wine in the evening because he was tired")[0]
drink = fill("ann had [MASK] in the morning because she was tired", 2)[0]
for answer in (she, he, drink):
    print({w: f"{p:.0%}" for w, p in answer.items()})
assert set(she) == set(WOMEN) and set(he) == set(MEN) and set(drink) == set(DRINKS["morning"])

# %% [markdown]
# The probability is spread evenly over four names: nothing in the sentence says which. That is the best that can be
# said, so the loss does not fall to 0. Of the ten words eight are certain, time and pronoun too, because the other
# words say them; a name costs ln 4, a drink ln 2.
#
# Two masks are filled each for itself: the model does not know what it puts in the other gap.

# %% tags=["package"]
both = fill("[MASK] had wine in the evening because [MASK] was tired", 8)
print({w: f"{p:.0%}" for w, p in both[0].items()}, {w: f"{both[1][w]:.0%}" for w in ("he", "she")})
assert abs(both[1]["she"] - 0.5) < 0.2

figure, (left, right) = plt.subplots(1, 2, figsize=(11, 4))
left.plot(losses, linewidth=0.8), left.set_xlabel("step"), left.set_ylabel("loss, nats per hidden token")
x = np.arange(8)
for shift, (label, answer) in zip((-0.2, 0.2), (("... she was tired", she), ("... he was tired", he))):
    right.bar(x + shift, [answer.get(name, 0.0) for name in WOMEN + MEN], 0.4, label=label)
right.set_xticks(x, WOMEN + MEN), right.set_ylabel("probability of [MASK]"), right.legend()
save_plot(figure, "02_bert")

# %% [markdown]
# For real texts: `tinygrad-llm pretrain --model bert`, then `tinygrad-llm fill-mask RUN "The [MASK] statement"`.
#
# ## Exercises
# 1. A BERT of two texts adds an embedding of the text's number. Show that without it, and without positions, the
#    model cannot tell "a [SEP] b" from "b [SEP] a".
# 2. Compute the smallest possible loss of the little language by hand, if exactly one token is hidden.
# 3. Hide nothing, but ask for every token. What does the loss become, and what has the model learned?
#
# Solutions: `lessons/solutions/13_encoders/02_bert.py`
