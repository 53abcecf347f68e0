# ---
# jupyter:
#   jupytext:
#     text_representation: {extension: .py, format_name: percent}
# ---

# %% [markdown]
# # 3. Writing: greedy, beams, and where the model looks
#
# **Question.** The model knows how likely each next word is. Is the best next word always the beginning of the
# best sentence? And does a translator look at the word that it translates?
#
# **For example.** "The" 0.6 then at best 0.4 gives 0.24; "A" 0.4 then 0.9 gives 0.36. Greedy search takes
# "The", two beams find the better sentence.
#
# **Predict first.** After "the" a model expects "dog" (0.6) or "cat" (0.4). After "the dog" all words have 0.1;
# after "the cat", "sat" has 0.9. Which two words does greedy decoding write, and which two are the most likely?
#
# **You need.** Lessons 1 and 2.

# %%
import math

import matplotlib.pyplot as plt

import tinygrad_llm as torch
from tinygrad_llm import nn
from tinygrad_llm.study.lesson import save_plot

# %% [markdown]
# ## By hand: greedy and beams
# A beam search keeps the n best beginnings, continues each with every word, and keeps the n best of those.

# %%
NEXT = {
    (): {"dog": 0.6, "cat": 0.4},
    ("dog",): {word: 0.1 for word in "ran sat ate saw was did had may can fell".split()},
    ("cat",): {"sat": 0.9, "ran": 0.1},
}


def beam_search(n, length=2):
    beams = [((), 0.0)]  # (words, log-probability)
    for _ in range(length):
        longer = [(words + (w,), score + math.log(p)) for words, score in beams for w, p in NEXT[words].items()]
        beams = sorted(longer, key=lambda beam: -beam[1])[:n]
    return beams[0]


for n in (1, 2):
    words, score = beam_search(n)
    print(f"{n} beam(s): {' '.join(words):8} probability {math.exp(score):.2f}")
assert beam_search(1)[0] == ("dog", "ran") and beam_search(2)[0] == ("cat", "sat")

# %% [markdown]
# A sum of log-probabilities falls with every word, so that short texts win. Dividing by length^α (the length
# penalty) makes up for it: α = 0 prefers short texts, α = 1 compares means per word.

# %%
short, long = [-0.5, -0.6], [-0.4, -0.4, -0.4, -0.4]  # log-probabilities of the words of two texts
for alpha in (0.0, 1.0):
    scores = [sum(text) / len(text) ** alpha for text in (short, long)]
    print(f"alpha {alpha}: short {scores[0]:.2f}, long {scores[1]:.2f}")
assert sum(short) > sum(long) and sum(short) / 2 < sum(long) / 4

# %% [markdown]
# ## By hand: why not one vector for the whole source?
# Before attention, a recurrent network read the source word by word and the decoder got its last state. How much
# does the state after t more words still depend on the first one? The gradient through time tells.

# %%
def gradient_of_first_word(scale, length=40, size=32):
    torch.manual_seed(2)
    mix = torch.randn(size, size) * scale / math.sqrt(size)  # (C, C), as a fresh network has it
    words = torch.randn(length, size).requires_grad_(True)
    state = torch.zeros(size)
    states = []
    for t in range(length):
        state = torch.tanh(mix @ state + words[t])  # (C, C) @ (C) -> (C)
        states.append(state)
    norms = []
    for t in (0, 4, 9, 19, 39):
        words.grad = None
        states[t].sum().backward(retain_graph=True)
        norms.append(words.grad[0].norm().item())
    return norms


recurrent = gradient_of_first_word(1.0)
print("gradient of the first word after 1, 5, 10, 20, 40 words:", ", ".join(f"{g:.1e}" for g in recurrent))
assert recurrent[-1] < 1e-4 * recurrent[0], "forty words later the first one is forgotten"

# %% [markdown]
# With attention there is one step from each source word to each written word, however far apart they are. The same
# measurement for a softmax over 40 words:

# %%
torch.manual_seed(2)
words = torch.randn(40, 32).requires_grad_(True)
query = torch.randn(32)
weights = torch.softmax(words @ query / math.sqrt(32), dim=-1)  # (S)
(weights @ words).sum().backward()  # (S) @ (S, C) -> (C)
norms = words.grad.norm(dim=-1)  # (S)
print(f"attention: first word {norms[0].item():.1e}, last word {norms[-1].item():.1e}")
assert norms[0].item() > 1e-3

# %% [markdown]
# ## With the package
# A tiny translator again; the same test sentences by 1, 2 and 4 beams and sampled, and a map of its
# cross-attention: rows are the shape of the written text, columns of the source.

# %% tags=["package"]
import time

from tinygrad_llm.evaluation.bleu import corpus_bleu
from tinygrad_llm.finetune import translate
from tinygrad_llm.finetune.sequences import PairDataset, sequence_trainer, write
from tinygrad_llm.finetune.translation import cross_attentions, sentence_pairs
from tinygrad_llm.models import Transformer, TransformerConfig
from tinygrad_llm.text import SimpleTokenizer

pairs = sentence_pairs(1000)
train, test = pairs[:900], pairs[900:]
ja, en = (SimpleTokenizer.train("\n".join(row[side] for row in train), cut="blanks") for side in (0, 1))
ends = ja.eot_token, en.eot_token
torch.manual_seed(123)
model = Transformer(TransformerConfig(
    vocab_size=en.vocab_size, source_vocab_size=ja.vocab_size, context_length=24, emb_dim=48, hidden_dim=96,
    n_layers=1, n_decoder_layers=1, n_heads=4, start_token_id=ends[1], pad_token_id=ends[1],
))  # fmt: skip
sequence_trainer(
    model, PairDataset(train, ja, en, ends), steps=240, batch_tokens=1000, lr=4e-3, label_smoothing=0.1,
    weight_decay=0.0, beta2=0.98, progress=False,
).run(plan=False)  # fmt: skip
sources, references = PairDataset(test, ja, en, ends).sources, [target for _, target in test]
scores = {}
ways = {"greedy": {}, "2 beams": {"num_beams": 2}, "4 beams": {"num_beams": 4},
        "sampled": {"temperature": 1.0, "seed": 0}}  # fmt: skip
for name, options in ways.items():
    began = time.perf_counter()
    texts = [en.decode(ids) for ids in write(model, sources, 20, end=ends[1], **options)]
    scores[name] = corpus_bleu(texts, references, cut="spaces").interval()
    s = scores[name]
    print(f"{name:8} BLEU {s.value:.2f} [{s.low:.2f}, {s.high:.2f}]  {time.perf_counter() - began:.2f} s")
assert scores["sampled"].value < scores["4 beams"].value
print(translate(model, (ja, en), "彼女 は 公園 で 本 を 読み ます 。", num_beams=4))

# %% [markdown]
# For such simple sentences greedy is as good as beams: the intervals overlap. Beams help where a wrong first word
# cannot be corrected later, and cost a multiple of the time.

# %% tags=["package"]
source = [*ja.encode("彼女 は 公園 で 本 を 読み ます 。"), ends[0]]
target = [*write(model, [source], 20, end=ends[1])[0], ends[1]]
maps = cross_attentions(model, (ja, en), source, target)
mean = maps.mean()  # (T, S)
romaji = ["kanojo", "wa", "kouen", "de", "hon", "o", "yomi", "masu", ".", "end"]
figure, axes = plt.subplots(1, 5, figsize=(14, 3.4), sharey=True)
for h, panel in enumerate(axes):
    weights = mean if h == 4 else maps.weights[0][h]
    panel.imshow(weights, cmap="Blues", vmin=0, vmax=1, aspect="auto")
    panel.set_title("mean" if h == 4 else f"head {h}")
    panel.set_xticks(range(len(source)), romaji, rotation=90)
axes[0].set_yticks(range(len(target)), [*maps.target[:-1], "end"])
figure.tight_layout()
save_plot(figure, "03_beams_and_maps")
looks = {word: romaji[int(row.argmax())] for word, row in zip(maps.target, mean)}
print(", ".join(f"{word} <- {seen}" for word, seen in looks.items() if not word.startswith("<")))
assert abs(mean.sum(-1) - 1.0).max() < 1e-5

# %% [markdown]
# The row of a word belongs to the step that *writes* it. Content words mostly look at their source words, across
# the whole sentence: Japanese has its verb at the end, English needs it second. (A map shows where a layer looks,
# not all that it uses: the encoder has already mixed the words.)
#
# ## Exercises
# 1. How many beams are enough in the example at the top for texts of two words, and why can more never be worse
#    *for the search*?
# 2. Multiply `mix` by 3 in the recurrent network (`scale=3`). What happens to the gradient, and why does tanh not
#    always save it?
# 3. Sampling with temperature 0.3 in place of 1.0: predict whether BLEU rises or falls, and try it.
#
# Solutions: `lessons/solutions/12_translation/03_beams_and_maps.py`
