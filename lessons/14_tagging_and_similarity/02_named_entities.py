# ---
# jupyter:
#   jupytext:
#     text_representation: {extension: .py, format_name: percent}
# ---

# %% [markdown]
# # 2. Named entities: from spans to tags, and back to a score
#
# **Question.** "Who and what is named in this text?" is a question about spans of characters. A model scores tokens.
# How does one become the other, and when is an answer right?
#
# **For example.** "Anna lives in New York": B-PER O O B-LOC I-LOC. Two entities; one with a wrong end counts
# as a miss and as a false alarm.
#
# **Predict first.** A tagger gets 96 % of all tags right. Can its F1 of entities be 0?
#
# The data are sentences of Japanese Wikipedia with 8 types of entities (`ner-wikipedia-ja`, Stockmark Inc., CC BY-SA
# 3.0, https://github.com/stockmarkteam/ner-wikipedia-dataset). Without it the lesson takes simple sentences of our own.
#
# **You need.** Lesson 1, chapter 13.

# %%
import matplotlib.pyplot as plt

import tinygrad_llm as tl
from tinygrad_llm.data import corpora
from tinygrad_llm.data.bio import Entity, from_bio, in_characters, to_bio
from tinygrad_llm.evaluation import entity_report, tag_report
from tinygrad_llm.finetune import evaluate_tagger, tag, tagging_trainer
from tinygrad_llm.finetune.splits import random_split
from tinygrad_llm.finetune.tagging import EntityDictionary, TaggingDataset, characters, read_annotated
from tinygrad_llm.finetune.tagging.sample import annotated_texts
from tinygrad_llm.models import ModernBert, ModernBertConfig, Tagger
from tinygrad_llm.study.lesson import full_run, get_or_explain, save_plot
from tinygrad_llm.text.tokenizer import ENCODER_TOKENS

# %% [markdown]
# ## By hand: spans to tags
# B-X begins an entity of the type X, I-X continues it, O is outside. B is needed: two names side by side would be one.

# %%
def tags_of(text, entities):
    """One tag for each character."""
    tags = ["O"] * len(text)
    for start, end, kind in entities:
        tags[start] = f"B-{kind}"
        tags[start + 1 : end] = [f"I-{kind}"] * (end - start - 1)
    return tags


text = "Ana met Bo in Rome."
entities = [Entity(0, 3, "person"), Entity(8, 10, "person"), Entity(14, 18, "place")]
tags = tags_of(text, entities)
print(list(zip(text, tags))[:9])
spans = [(i, i + 1) for i in range(len(text))]
assert to_bio(entities, spans) == (tags, [])
assert in_characters(from_bio(tags), spans) == entities  # and back

# Tokens of several characters: an entity that ends within a token cannot be said, and is reported.
words = [(0, 3), (4, 7), (8, 10), (11, 13), (14, 19)]  # "Rome." is one token
print(to_bio(entities, words))
assert to_bio(entities, words)[1] == [entities[2]]

# %% [markdown]
# ## By hand: precision, recall, F1
# An entity is right if start, end and type are right, all three. Precision: the share of the predicted entities that are
# right. Recall: the share of the true ones that were found. F1 is their harmonic mean.

# %%
predicted = [Entity(0, 3, "person"), Entity(8, 12, "person"), Entity(14, 18, "place")]
right = len(set(entities) & set(predicted))
precision, recall = right / len(predicted), right / len(entities)
f1 = 2 * precision * recall / (precision + recall)
report = entity_report([entities], [predicted])
print(f"precision {precision:.3f}, recall {recall:.3f}, F1 {f1:.3f}; errors: {report.errors}")
assert report.micro == (precision, recall, f1, 3)
assert report.errors["wrong boundary"] == 1  # "Bo" as "Bo i": two wrong tags of 19, and a third of the entities

# Tags that no entity has: I-X after O. The strict reading ignores it, the usual one lets it begin an entity.
illegal = ["O", "I-person", "I-person", "O"]
print("usual:", from_bio(illegal), " strict:", from_bio(illegal, strict=True))
assert tag_report([illegal], [illegal]).f1 == 1.0 and tag_report([illegal], [illegal], strict=True).f1 == 0.0

# %% [markdown]
# ## With the package: a small tagger
# An encoder with rotary positions (a small ModernBERT), a token for each character, and the CRF of lesson 1 on top. It
# starts from random weights. The baseline is a dictionary: names of the training texts, the longest first.

# %%
path = get_or_explain(lambda: corpora.path("ner-wikipedia-ja"), "Sentences of our own are read.")
rows = annotated_texts() if path is None else read_annotated(path)
train, validation, test = random_split(rows, 0.8, 0.1, seed=123)
full = full_run("trains on all texts for 6 epochs: about 4 minutes on two cores")
if not full:
    train, test = [row for row in train if len(row.text) <= 50][:1000], test[:150]
print(f"{len(train)} texts for training, {len(test)} for the test; the first:")
print(train[0].text, [(train[0].text[e.start : e.end], e.type) for e in train[0].entities])

types = sorted({e.type for row in rows for e in row.entities})
tokenizer = characters([row.text for row in train], ENCODER_TOKENS)
tl.manual_seed(123)
config = ModernBertConfig(
    vocab_size=tokenizer.vocab_size, context_length=320, emb_dim=64, hidden_dim=128, n_heads=4, n_layers=2
)
model = Tagger(ModernBert(config), types, crf=True, pad_token_id=tokenizer.pad_token)
data = TaggingDataset(train, tokenizer, model.labels)
labels = tl.tensor([data[0][1]])  # (1, T)
print("scores have the shape", tuple(model(tl.tensor([data[0][0]])).shape), "labels", tuple(labels.shape))
assert not data.inexact  # characters can say every entity
losses = []
trainer = tagging_trainer(
    model, data, epochs=6 if full else 5, batch_size=16, lr=3e-3, seed=123, progress=False,
)
result = trainer.run()
assert result.loss < 1.5

# %%
report = evaluate_tagger(model, tokenizer, test)
known = EntityDictionary(train)
baseline = entity_report([list(r.entities) for r in test], [known.tag(r.text) for r in test])
print(f"F1 {report.interval}, baseline {baseline.interval}, after {trainer.step} steps")
print(report.errors)
for row in test[:3]:
    print(row.text, [(row.text[e.start : e.end], e.type) for e in tag(model, tokenizer, row.text)])
assert report.f1 in report.interval and report.interval.low <= report.interval.high

# %% [markdown]
# How many tags are right, and how many entities? Most characters are O, so tags flatter.

# %%
right_tags = total = 0
for row in test:
    places = [(i, i + 1) for i in range(len(row.text))]
    true, ours = to_bio(row.entities, places)[0], to_bio(tag(model, tokenizer, row.text), places)[0]
    right_tags += sum(a == b for a, b in zip(true, ours))
    total += len(true)
print(f"tags {right_tags / total:.1%}, F1 of entities {report.f1:.1%}")
assert right_tags / total > report.f1

figure, axes = plt.subplots(figsize=(7, 3.2))
kinds = list(report.errors)
axes.barh(kinds, [report.errors[k] for k in kinds], 0.4, align="edge", label="tagger")
axes.barh(kinds, [baseline.errors[k] for k in kinds], -0.4, align="edge", color="0.7", label="dictionary")
axes.invert_yaxis(), axes.set_xlabel("entities"), axes.legend()
save_plot(figure, "02_named_entities")

# %% [markdown]
# The command does the same with everything around it, and a larger model: `tinygrad-llm finetune ner`. A BERT that has
# read much Japanese before is far better than this; how much better, its authors say with their own data and splits.
#
# ## Exercises
# 1. Write an example in which 96 % of the tags are right, and F1 is 0.
# 2. The tagger without CRF: take the highest score of each token. Write a row of scores for which this gives
#    I-X after O, and what decoding with the rules of BIO gives.
# 3. Is the mean of the types' F1 above or below the F1 of all entities, if rare types are harder? Show it.
#
# Solutions: `lessons/solutions/14_tagging_and_similarity/02_named_entities.py`
