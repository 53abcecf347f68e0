# ---
# jupyter:
#   jupytext:
#     text_representation: {extension: .py, format_name: percent}
# ---

# %% [markdown]
# # 1. Perplexity and bits per byte
#
# **Question.** One model reads characters and has a perplexity of 4. Another reads words and has one of 7. Which of the two
# knows the language better?
#
# **For example.** 1,000 bytes cost a model 700 nats in all: 0.7 per byte, 1.01 bits per byte. How many tokens
# that were does not matter.
#
# **Predict first.** Both are counted from the same text below. Which one has the lower perplexity, and which one would
# compress the text better?
#
# **You need.** Chapter 05, lesson 1.

# %%
import math

import matplotlib.pyplot as plt

import tinygrad_llm as torch
from tinygrad_llm.study.lesson import save_plot

torch.manual_seed(123)

# %% [markdown]
# ## A text of our own
# 1,200 sentences made by rule, of which each names its animal twice: 1,000 are learned, the others are measured.

# %%
animals, verbs = "cat dog fox bear lion mouse horse goat".split(), "sees likes follows carries finds hides".split()
things = "ball leaf fish stone shoe cake lamp bell".split()
drawn = torch.randint(0, 48, (1200, 3))  # shape (1200, 3)
lines = [f"{animals[a % 8]} {verbs[v % 6]} {things[t % 8]} {animals[a % 8]}\n" for a, v, t in drawn.tolist()]
train, test = "".join(lines[:1000]), "".join(lines[1000:])
print(train.splitlines()[0], len(train.encode()), "bytes")

# %% [markdown]
# ## By hand: the same model over two kinds of tokens
# A bigram model: count which token follows which, add one to each count, divide. Its loss is the mean of −ln p over the
# tokens of the test text, and its perplexity is e^loss: the number of equally likely tokens that would be as hard to guess.


# %%
def bigram(train_tokens, test_tokens):
    """(nats in all, tokens) of the test tokens, of which all except the first are predicted."""
    known = sorted(set(train_tokens) | set(test_tokens))
    number = {token: i for i, token in enumerate(known)}
    counts = torch.ones(len(known), len(known))  # shape (V, V)
    for first, second in zip(train_tokens, train_tokens[1:]):
        counts[number[first], number[second]] += 1
    log_p = (counts / counts.sum(1, keepdim=True)).log()
    before = torch.tensor([number[t] for t in test_tokens[:-1]])
    after = torch.tensor([number[t] for t in test_tokens[1:]])
    return -log_p[before, after].sum().item(), len(test_tokens) - 1


n_bytes = len(test.encode())
table = {}
for name, cut in {"characters": list, "words": lambda text: text.replace("\n", " \n ").split(" ")}.items():
    nats, tokens = bigram(cut(train), cut(test))
    table[name] = math.exp(nats / tokens), nats / math.log(2) / n_bytes
    print(f"{name:11} {tokens} tokens, perplexity {table[name][0]:.3f}, bits per byte {table[name][1]:.3f}")

# %% [markdown]
# Words are harder to guess than characters, one by one, but there are fewer of them. **Bits per byte** divides by what does
# not depend on the tokenizer: nats / ln 2 / bytes of the text. It is also what an ideal compressor would write for each byte.
#
# Bytes, not characters, and counted from the text, not from its tokens: half of a character decodes to "�", which has three.

# %%
print(len("日本"), "characters,", len("日本".encode()), "bytes; half of one:", len("日".encode()[:2].decode(errors="replace").encode()))
assert table["words"][1] < table["characters"][1], "words compress better"
assert table["words"][0] > table["characters"][0], "and have the higher perplexity"

# %% [markdown]
# ## By hand: what does each token see?
# A model sees `context` tokens. Cut the text into windows that follow one another, and the first token of each window is
# predicted from nothing. Let the window move by `stride` tokens only, and count in each window just the tokens that are new.


# %%
def seen(n, context, stride):
    """How many tokens stand before each of n predicted tokens, in the window that predicts it."""
    before, begin, done = [], 0, 0
    while done < n:
        end = min(begin + context, n)
        before += [i - begin + 1 for i in range(done, end)]
        done, begin = end, begin + stride
    return torch.tensor(before, dtype=torch.float32)  # shape (n,)


for stride in (32, 16, 4):
    print(f"stride {stride:2}: {seen(500, 32, stride).mean().item():.2f} tokens before each, on average")
assert len(seen(500, 32, 4)) == 500, "each token is predicted once, with any stride"

# %% [markdown]
# ## With the package
# `measure_text` does both. A small GPT learns the same text for some seconds.

# %% tags=["package"]
from tinygrad_llm.evaluation import measure_text
from tinygrad_llm.models import GPT, GPTConfig
from tinygrad_llm.text import CharTokenizer

tokenizer = CharTokenizer.train(train + test)
model = GPT(GPTConfig(tokenizer.vocab_size, context_length=32, emb_dim=48, n_heads=4, n_layers=2, drop_rate=0.0))
optimizer = torch.optim.AdamW(model.parameters(), lr=4e-3)
ids = torch.tensor(tokenizer.encode(train))
for _ in range(250):
    starts = torch.randint(0, len(ids) - 33, (16,)).tolist()
    batch = torch.stack([ids[s : s + 33] for s in starts])  # shape (16, 33)
    optimizer.zero_grad()
    model.loss(batch[:, :-1], batch[:, 1:]).backward()
    optimizer.step()
strides = (32, 16, 8, 4, 2)
measured = [measure_text(model, tokenizer, test, stride=stride) for stride in strides]
for stride, one in zip(strides, measured):
    print(f"stride {stride:2}: perplexity {one.perplexity:.3f}, bits per byte {one.bits_per_byte:.3f}")
assert measured[-1].bits_per_byte < measured[0].bits_per_byte, "more context, fewer bits"
assert measured[0].n_tokens == measured[-1].n_tokens

# %% [markdown]
# **Answer.** Perplexities of different tokens cannot be compared, bits per byte can. And a figure without its window and
# stride says little: the same model scores better when each token sees more. Half a window is enough here: a smaller stride
# only predicts all tokens from the last places of the window, for many times the work. `tinygrad-llm evaluate` prints both.

# %% tags=["package"]
figure, axes = plt.subplots(1, 2, figsize=(10, 4))
for i, (title, values) in enumerate({"perplexity": [v[0] for v in table.values()],
                                     "bits per byte": [v[1] for v in table.values()]}.items()):
    axes[0].bar([x + 0.35 * i for x in range(2)], values, 0.35, label=title)
axes[0].set_xticks([0.175, 1.175]), axes[0].set_xticklabels(table), axes[0].legend()
axes[0].set_title("the same text, two kinds of tokens")
axes[1].plot(strides, [one.bits_per_byte for one in measured], "o-")
axes[1].set_xlabel("stride (the window has 32 tokens)"), axes[1].set_ylabel("bits per byte of the GPT")
axes[1].set_title("more context for each token")
figure.tight_layout()
save_plot(figure, "01_perplexity_and_bits_per_byte")

# %% [markdown]
# ## Exercises
# 1. A model knows nothing: all V tokens are equally likely. What is its perplexity? And how many bits per byte has a model
#    that finds all 256 bytes equally likely?
# 2. A tokenizer is changed so that each token has two of the old tokens. The model finds the text exactly as likely as
#    before. What becomes of perplexity and bits per byte?
# 3. How many tokens must a model read for a text of N tokens with a window of W and a stride of S? What does stride 1 cost?
#
# Solutions: `lessons/solutions/18_evaluation/01_perplexity_and_bits_per_byte.py`
