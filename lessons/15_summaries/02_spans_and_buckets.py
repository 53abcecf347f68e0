# ---
# jupyter:
#   jupytext:
#     text_representation: {extension: .py, format_name: percent}
# ---

# %% [markdown]
# # 2. T5: texts with holes, and positions in buckets
#
# **Question.** A decoder learns from any text: it predicts the next token. What can an encoder-decoder learn from a
# text that nobody has translated or summarized? And how does T5 know where a token stands, if it adds nothing to
# the embeddings?
#
# **For example.** "The cat sat on the mat" -> input "The <0> on the <1>", target "<0> cat sat <1> mat". The
# model writes only what is missing.
#
# **Predict first.** 15 % of 568 tokens are hidden in runs of 3 on average. How long are the input and the target,
# if each run is replaced by one token, its sentinel? How many numbers does T5 learn for all its positions: one for
# each place, each distance, or fewer?
#
#     text     Thank you for inviting me to your party last week
#     input    Thank you <X> me to your party <Y> week
#     target   <X> for inviting <Y> last <Z>
#
# **You need.** Chapters 12 and 13.

# %%
import math

import matplotlib.pyplot as plt

import tinygrad_llm as tl
from tinygrad_llm import nn
from tinygrad_llm.study.lesson import save_plot

# %% [markdown]
# ## By hand: holes
# `hidden` says for each word whether it is in a hole. Neighbours share a hole.

# %%
words = "Thank you for inviting me to your party last week".split()
hidden = [word in ("for", "inviting", "last") for word in words]  # shape (10)


def with_holes(words, hidden, sentinels=("<X>", "<Y>", "<Z>")):
    source, target, hole = [], [], -1
    for i, word in enumerate(words):
        if hidden[i]:
            if i == 0 or not hidden[i - 1]:  # a hole begins
                hole += 1
                source.append(sentinels[hole])
                target.append(sentinels[hole])
            target.append(word)
        else:
            source.append(word)
    return source, target + ([] if hidden[-1] else [sentinels[hole + 1]])


source, target = with_holes(words, hidden)
print("input  ", " ".join(source))
print("target ", " ".join(target))
assert " ".join(source) == "Thank you <X> me to your party <Y> week"
assert " ".join(target) == "<X> for inviting <Y> last <Z>"

# %% [markdown]
# The lengths follow from three numbers: tokens, density 0.15, mean length 3. Both sequences also get an end token.

# %%
n = 568
noise = round(n * 0.15)
holes = round(noise / 3)
print(f"{n} tokens: {noise} hidden in {holes} holes; input {n - noise + holes + 1}, target {noise + holes + 1}")
assert (n - noise + holes + 1, noise + holes + 1) == (512, 114)  # what T5 was pretrained with

# %% [markdown]
# The encoder reads 512 tokens, the decoder writes 114: a step costs much less than writing all 568 again.
#
# ## By hand: buckets
# A head adds a learned number to the score of query i and key j that depends on j − i alone. T5 has 32 numbers per
# head. An encoder sees both sides: 16 for what follows and 16 for what came before, 8 exact ones each, the rest
# in ranges that grow by a constant factor up to 128. A decoder sees one side, so it has 16 exact ones.

# %%
def bucket(distance, both_sides, n=32, most=128):
    """distance: key minus query."""
    first = 0
    if both_sides:
        n //= 2
        first, distance = (n if distance > 0 else 0), abs(distance)
    else:
        distance = max(-distance, 0)  # the future is masked
    exact = n // 2
    if distance < exact:
        return first + distance
    share = math.log(distance / exact) / math.log(most / exact)
    return first + min(exact + int(share * (n - exact) + 1e-6), n - 1)


for sides, name in ((True, "encoder"), (False, "decoder")):
    print(name, {d: bucket(d, sides) for d in (-200, -64, -10, -1, 0, 1, 10, 64)})
assert [bucket(d, True) for d in (-1, 0, 1, 7, 8, 127, 500)] == [1, 0, 17, 23, 24, 31, 31]
assert [bucket(d, False) for d in (5, 0, -15, -16, -500)] == [0, 0, 15, 16, 31]

# %% [markdown]
# ## With the package
# `random_spans` draws the holes as T5's code does, `corrupt_spans` makes both sequences, `uncorrupt` undoes it.

# %% tags=["package"]
from tinygrad_llm.data.spans import corrupt_spans, random_spans, span_lengths, uncorrupt
from tinygrad_llm.layers.positions import RelativeBias
from tinygrad_llm.random import Generator

both = corrupt_spans(range(10), hidden, [101, 102, 103])
names = {**dict(enumerate(words)), 101: "<X>", 102: "<Y>", 103: "<Z>"}
assert [names[i] for i in both.input] == source and [names[i] for i in both.target] == target
assert span_lengths(568) == (568, 85, 28, 512, 114)
marks = random_spans(568, generator=Generator().manual_seed(1))  # shape (568)
drawn = corrupt_spans(range(568), marks, range(1000, 1028), end=999)
assert uncorrupt(drawn.input[:-1], drawn.target[:-1], range(1000, 1028)) == list(range(568))
print(f"drawn: {marks.sum()} of 568 hidden, input {len(drawn.input)}, target {len(drawn.target)}")

places = tl.arange(200)
for both_sides in (True, False):
    buckets = RelativeBias(8, bidirectional=both_sides).buckets(places, places)  # (query, key)
    assert all(buckets[100, j].item() == bucket(j - 100, both_sides) for j in range(200))
print("numbers for all positions of T5 small:", 2 * 32 * 8, "- one table for the encoder, one for the decoder")

# %% [markdown]
# Now a small T5 learns to fill holes. The texts are of few kinds, so that it works in seconds; `finetune.infill`
# is the one call that users need. Real T5s learned on 34 billion tokens what words go together.

# %% tags=["package"]
from tinygrad_llm import finetune, models
from tinygrad_llm.finetune.sequences import PairDataset, sequence_trainer
from tinygrad_llm.finetune.summaries.data import add_spans
from tinygrad_llm.finetune.summaries.call import sentinels_of
from tinygrad_llm.text import END_OF_TEXT, BPETokenizer

rows = [f"the {who} {does} in the {where}" for who, where in (("cat", "house"), ("cow", "barn"), ("fish", "sea"), ("bird", "tree"))
        for does in ("sleeps", "eats", "waits", "plays", "hides", "lives")]
tokenizer = BPETokenizer.train(rows, 310, (END_OF_TEXT, *(f"<extra_id_{i}>" for i in range(4))))
end = tokenizer.eot_token
data = PairDataset([(row, row) for row in rows], tokenizer, tokenizer, (end, end))
before = len(data)
add_spans(data, sentinels_of(tokenizer), end, 12.0, 0)
data.sources, data.targets, data.lengths = data.sources[before:], data.targets[before:], data.lengths[before:]
tl.manual_seed(0)
model = models.T5(models.T5Config(
    vocab_size=tokenizer.vocab_size, context_length=24, emb_dim=48, hidden_dim=96, n_layers=1, n_decoder_layers=1,
    n_heads=4, head_dim=12, drop_rate=0.0, start_token_id=end, pad_token_id=end,
))
sequence_trainer(model, data, steps=240, batch_size=24, lr=1e-2, progress=False).run()
answers = {who: finetune.infill(model, tokenizer, f"the {who} waits in the <extra_id_0>").spans[0].strip()
           for who in ("cat", "cow", "fish", "bird")}
print("the ... waits in the <extra_id_0>:", answers)
assert sum(answers[w] == p for w, p in (("cat", "house"), ("cow", "barn"), ("fish", "sea"), ("bird", "tree"))) >= 3

figure, (left, right) = plt.subplots(1, 2, figsize=(11, 4))
distances = range(-150, 151)
left.plot(distances, [bucket(d, True) for d in distances], label="encoder")
left.plot(distances, [bucket(d, False) for d in distances], label="decoder")
left.set_xlabel("key − query"), left.set_ylabel("bucket"), left.legend()
bias = model.encoder.trf_blocks[0].att.position_bias(tl.arange(12), tl.arange(12))  # (H, 12, 12)
image = right.imshow(bias.detach()[0].numpy(), cmap="coolwarm")
right.set_title("what head 0 learned to add"), right.set_xlabel("key"), right.set_ylabel("query")
figure.colorbar(image, ax=right)
save_plot(figure, "02_spans_and_buckets")

# %% [markdown]
# ## Exercises
# 1. How long are input and target of 1,000 tokens with density 0.5 and mean length 5? What happens to the cost of
#    the decoder compared with density 0.15?
# 2. A hole at the end of a text: does the target need a last sentinel? Why does one help where the text goes on?
# 3. Which distances share a bucket with −20 in an encoder? Find them by a loop.
#
# Solutions: `lessons/solutions/15_summaries/02_spans_and_buckets.py`
