# ---
# jupyter:
#   jupytext:
#     text_representation: {extension: .py, format_name: percent}
# ---

# %% [markdown]
# # 8. Positions: who tells attention where a token stands?
#
# **Question.** Attention adds up values with weights from q·k. Nothing in this formula says which token comes
# first. Where does the order come from, and what happens in a text that is longer than any in training?
#
# **For example.** Trained on 512 positions, asked about position 600: a table has no row 600. A formula such
# as "score − 0.5·distance" has a value for it.
#
# **Predict first.** A model is trained on 32 tokens and then reads 128. Its positions are one of these: a
# table with a row for each position; sines and cosines; rotations of queries and keys; a penalty for
# distance; nothing at all. Which ones can read the long text, and which of them read it *well*?
#
# | kind | what it changes | parameters |
# |---|---|---|
# | learned (GPT-2) | adds row t of a table to token t | T·C |
# | sinusoidal (2017) | adds sines and cosines of t | none |
# | rotary (Llama) | turns queries and keys by t | none |
# | ALiBi (Bloom) | subtracts m·(i − j) from the scores | none |
# | T5's buckets | adds a learned number for the bucket of i − j | buckets·heads |
# | none | nothing | none |
#
# **You need.** Chapter 02, lesson 5.

# %%
import math

import matplotlib.pyplot as plt

import tinygrad_llm as torch
import tinygrad_llm.nn.functional as F
from tinygrad_llm.study.lesson import save_plot

# %% [markdown]
# ## By hand: without positions the order is lost
# Attention that sees all tokens returns the same rows in another order if its input is in another order.

# %%
torch.manual_seed(123)
T, C = 6, 8
x = torch.randn(1, 1, T, C)  # one text, one head: queries, keys and values are x itself
order = torch.tensor([3, 0, 5, 1, 4, 2])
y, y_of_mixed = (F.scaled_dot_product_attention(z, z, z) for z in (x, x[:, :, order]))  # (1, 1, T, C)
print("shuffled in, shuffled out:", torch.allclose(y[:, :, order], y_of_mixed, atol=1e-6))
assert torch.allclose(y[:, :, order], y_of_mixed, atol=1e-6)
causal = F.scaled_dot_product_attention(x[:, :, order], x[:, :, order], x[:, :, order], is_causal=True)
assert not torch.allclose(y[:, :, order], causal, atol=1e-2)

# %% [markdown]
# A causal mask breaks the symmetry: token i sees i + 1 keys. So a decoder without positions is not blind. It
# can learn to count, but it must learn it.
#
# ## By hand: sines and cosines
# Pair j of the channels is a clock hand with its own speed ωⱼ = 10000^(−2j/C). One position later, every hand
# has turned by ωⱼ: the product of two vectors depends on their distance alone.

# %%
def sinusoidal(positions, dim, base=10000.0):
    omega = base ** (-torch.arange(0, dim, 2).float() / dim)  # (C/2)
    angles = positions.float().unsqueeze(1) * omega  # (T, 1)·(C/2) -> (T, C/2)
    return torch.stack([torch.sin(angles), torch.cos(angles)], dim=-1).reshape(len(positions), dim)  # (T, C)


p = sinusoidal(torch.arange(100), 64)
dots = p @ p.T  # (T, T)
print("p(10)·p(13) and p(80)·p(83):", " ".join(f"{v:.3f}" for v in (dots[10, 13].item(), dots[80, 83].item())))
assert abs(dots[10, 13].item() - dots[80, 83].item()) < 1e-3
assert dots[50, 50] > dots[50, 51] > dots[50, 55]

# %% [markdown]
# ## By hand: ALiBi's penalty and T5's buckets
# Both add a number to the score of query i and key j that depends on i − j. ALiBi's is −m·(i − j), with one m
# for each head: 1/2, 1/4, 1/8 … for 8 heads. T5 learns its numbers, but not one for each distance: the first
# 16 distances have a bucket each, later ones share, and all from 128 on are "far".

# %%
rates = [2.0 ** (-8.0 * h / 8) for h in range(1, 9)]
print("ALiBi's rates:", ", ".join(f"1/{1 / m:.0f}" for m in rates))


def bucket(distance, n=32, most=128):
    exact = n // 2
    if distance < exact:
        return distance
    share = math.log(distance / exact) / math.log(most / exact)
    return min(exact + int(share * (n - exact) + 1e-6), n - 1)


print("T5's bucket of a distance:", ", ".join(f"{d}: {bucket(d)}" for d in (0, 1, 15, 16, 20, 40, 64, 127, 5000)))
assert [bucket(d) for d in (0, 15, 16, 127, 5000)] == [0, 15, 16, 31, 31]

# %% [markdown]
# ## With the package
# The same three, as layers. `Alibi` and `RelativeBias` are what an `Attention` takes as its `position_bias`.

# %% tags=["package"]
from tinygrad_llm import study
from tinygrad_llm.data import corpora
from tinygrad_llm.layers.positions import Alibi, RelativeBias, SinusoidalPositions
from tinygrad_llm.models import GPT, GPTConfig
from tinygrad_llm.text import CharTokenizer

places = torch.arange(40)
assert torch.allclose(SinusoidalPositions(64)(torch.arange(100)), p, atol=1e-4)
bias = Alibi(8)(places, places)  # (H, T, T)
assert all(abs(bias[h, 30, 10].item() + rates[h] * 20) < 1e-6 for h in range(8))
assert RelativeBias(8).buckets(places, places)[39].tolist() == [bucket(39 - j) for j in range(40)]
save_plot(study.draw_positions(SinusoidalPositions(64), 100), "08_positions_sinusoidal")

# %% [markdown]
# Now the experiment. Six small GPTs differ in nothing but their positions. They train on windows of 32
# characters of Python's manual and then read windows of 128. The loss is printed for the first 32 places of a
# window and for the last 32, which are farther than anything they have seen.

# %% tags=["package"]
text = corpora.load().text[:300_000]
tokenizer = CharTokenizer.train(text)
ids = torch.tensor(tokenizer.encode(text))  # (N)
TRAINED, LONG, STEPS = 32, 128, 200


def windows(length, n, seed, part):
    starts = torch.randint(0, len(part) - length - 1, (n,), generator=torch.Generator().manual_seed(seed))
    rows = torch.stack([part[int(s) : int(s) + length + 1] for s in starts])  # (n, length + 1)
    return rows[:, :-1], rows[:, 1:]


def trained(positions):
    torch.manual_seed(1)
    model = GPT(GPTConfig(tokenizer.vocab_size, TRAINED, 48, 4, 2, drop_rate=0.0, positions=positions))
    optimizer = torch.optim.AdamW(model.parameters(), lr=4e-3)
    for step in range(STEPS):
        inputs, targets = windows(TRAINED, 24, step, ids[:270_000])
        optimizer.zero_grad()
        model.loss(inputs, targets).backward()
        optimizer.step()
    return model.eval()


def by_place(model, length):
    inputs, targets = windows(length, 48, 7, ids[270_000:])
    with torch.no_grad():
        logits = model(inputs)  # (48, length, V)
        losses = F.cross_entropy(logits.flatten(0, 1), targets.flatten(), reduction="none")
    return losses.view(48, length).mean(0)  # (length)


curves = {}
print(f"{'positions':12}{'places 0-31':>12}{'places 96-127':>15}")
for name in ("learned", "sinusoidal", "rotary", "alibi", "t5", "none"):
    model = trained(name)
    if name == "learned":  # its table has 32 rows: a longer text is an error, not a bad guess
        curves[name] = by_place(model, TRAINED)
        print(f"{name:12}{curves[name].mean().item():12.3f}{'no such row':>15}")
        continue
    curves[name] = by_place(model.changed(context_length=LONG), LONG)
    print(f"{name:12}{curves[name][:32].mean().item():12.3f}{curves[name][96:].mean().item():15.3f}")
far = {name: curve[96:].mean().item() - curve[:32].mean().item() for name, curve in curves.items() if len(curve) > 32}
assert far["alibi"] < 0.1 and far["t5"] < 0.2, "biases by distance go on as they were"
assert far["sinusoidal"] > far["alibi"] and far["rotary"] > far["alibi"]

# %% [markdown]
# Sines can be computed for any position, but the model has never met their values: being *defined* beyond the
# training length is not the same as *working* there. ALiBi's penalty makes far keys unimportant, so that a
# long text looks like a short one. T5's last bucket does the same. (Rotary models are stretched afterwards
# instead: see `scaling` of `layers.rotary.Rotary`.)

# %% tags=["package"]
figure, axes = plt.subplots(figsize=(9, 4.5))
for name, curve in curves.items():
    smooth = curve.view(-1, 8).mean(1)  # (length) -> (length/8)
    axes.plot([8 * i + 4 for i in range(len(smooth))], smooth.tolist(), "o-", label=name)
axes.axvline(TRAINED, color="black", ls=":", label="longest in training")
axes.set_xlabel("place in the window"), axes.set_ylabel("loss, nats per character")
axes.legend(loc="center left", bbox_to_anchor=(1.01, 0.5))
save_plot(figure, "08_positions")

# %% [markdown]
# ## Exercises
# 1. Show that p(t + n) is p(t) with each pair of channels turned, by writing down the 2 × 2 matrix for one ω and
#    checking it for t = 3, n = 4.
# 2. At which distance does a key with ALiBi's rate m = 1/2 and the same score as the own token have less than
#    1/1000 of its weight? And with m = 1/256?
# 3. How many numbers does each kind store for 12 heads, 768 channels and a context of 1,024? And for a context
#    of 100,000?
#
# Solutions: `lessons/solutions/11_attention_variants/08_positions.py`
