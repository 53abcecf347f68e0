# ---
# jupyter:
#   jupytext:
#     text_representation: {extension: .py, format_name: percent}
# ---

# %% [markdown]
# # 5. One token after the other, and the KV cache
#
# **Question.** A GPT gives scores for the next token. How do they become a text, and why does each new token
# not cost as much as the whole text?
#
# **For example.** To write the 101st token without a cache, 100 tokens go through the model. With a cache it
# is one: the keys and values of the other 99 are kept.
#
# **Answer.** Take the best token, append it, ask again. In the naive loop all tokens are computed again each
# time: 1 + 2 + … + T of them, about T²/2. But the past does not change! A token looks only back, so its keys
# and values stay as they are. Keep them: the *KV cache*. Then each step computes one token.
#
# **You need.** Lesson 4.

# %%
import statistics
import time

import matplotlib.pyplot as plt

import tinygrad_llm as torch
import tinygrad_llm.nn.functional as F
from tinygrad_llm import nn
from tinygrad_llm.study.lesson import save_plot
from tinygrad_llm.text import CharTokenizer

# %% [markdown]
# ## By hand: one attention layer that remembers

# %%
class CachedAttention(nn.Module):
    def __init__(self, C):
        super().__init__()
        self.qkv = nn.Linear(C, 3 * C, bias=False)
        self.keys = self.values = None

    def forward(self, x, use_cache=False):
        q, k, v = self.qkv(x).chunk(3, dim=-1)  # (B, T, C) -> three of (B, T, C)
        if not use_cache:
            return F.scaled_dot_product_attention(q, k, v, is_causal=True)
        if self.keys is not None:
            k, v = torch.cat([self.keys, k], dim=1), torch.cat([self.values, v], dim=1)  # (B, past + T, C)
        self.keys, self.values = k, v
        past = k.shape[1] - q.shape[1]
        visible = torch.ones(q.shape[1], k.shape[1]).tril(past).bool()  # new token i sees the past and 0 … i
        return F.scaled_dot_product_attention(q, k, v, attn_mask=visible)


torch.manual_seed(123)
layer = CachedAttention(8)
x = torch.randn(1, 6, 8)  # (B, T, C)
with torch.no_grad():
    in_one_pass = layer(x)
    pieces = [layer(x[:, :3], use_cache=True)]  # the prompt, three tokens together
    pieces += [layer(x[:, t : t + 1], use_cache=True) for t in range(3, 6)]  # then one by one
one_by_one = torch.cat(pieces, dim=1)  # (1, 6, 8)
print(one_by_one[0, -1, :4], " cache:", layer.keys.shape, layer.values.shape)
assert torch.allclose(one_by_one, in_one_pass, atol=1e-6)

# %% [markdown]
# A trap: a causal mask must end at the *last* key, not start at the first. For a single new token, a 1 x 6
# mask that starts at the left would let it see the first token only.

# %%
q, k = torch.randn(1, 1, 8), torch.randn(1, 6, 8)
wrong = torch.ones(1, 6).tril().bool()
print("visible to a new token, wrong:", wrong.int().tolist(), "  right:", torch.ones(1, 6).tril(5).int().tolist())
assert wrong.sum() == 1 and torch.ones(1, 6).tril(5).sum() == 6

# %% [markdown]
# ## With the package
# A small GPT that has learned one sentence by heart, so that there is something to see. (Real training is the
# next chapter.)

# %% tags=["package"]
from tinygrad_llm.generation import generate, generate_steps
from tinygrad_llm.models import GPT, GPTConfig

sentence = "the tram stops at the old market, and the driver waves to the baker. "
tokenizer = CharTokenizer.train(sentence)
text = torch.tensor(tokenizer.encode(sentence * 8))
torch.manual_seed(1)
config = GPTConfig(
    vocab_size=tokenizer.vocab_size, context_length=256, emb_dim=48, n_heads=4, n_layers=2, drop_rate=0.0
)
model = GPT(config)
optimizer = torch.optim.AdamW(model.parameters(), lr=5e-3)
for step in range(160):
    starts = torch.randint(0, len(text) - 73, (8,)).tolist()
    batch = torch.stack([text[s : s + 73] for s in starts])  # (8, 73)
    loss = model.loss(batch[:, :-1], batch[:, 1:])
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
    if step % 40 == 0 or step == 159:
        print(f"step {step:3}: loss {loss.item():.3f}")

# %% [markdown]
# The naive loop, in four lines: look at the last logits, take the largest, append.

# %% tags=["package"]
def naive(model, ids, n):
    with torch.no_grad():
        for _ in range(n):
            logits = model(ids)[:, -1]  # (1, T) -> (1, T, V) -> (1, V)
            ids = torch.cat([ids, logits.argmax(-1, keepdim=True)], dim=1)  # (1, T + 1)
    return ids


prompt = torch.tensor([tokenizer.encode("the tram ")])  # (1, 9)
ids_by_hand = naive(model, prompt, 60)
generated = generate(model, prompt, 60)
print(repr(tokenizer.decode(generated[0])), " shape", generated.shape)
assert torch.equal(ids_by_hand, generated)
assert tokenizer.decode(generated[0]).startswith(sentence[:40])

# %% [markdown]
# With the cache by hand: the prompt first, then each new token alone.

# %% tags=["package"]
cache = model.new_cache()
with torch.no_grad():
    logits = model(prompt, cache=cache)[:, -1]
    row = prompt[0].tolist()
    for _ in range(60):
        row.append(int(logits.argmax()))
        logits = model(torch.tensor([row[-1:]]), cache=cache)[:, -1]  # (1, 1) -> (1, 1, V) -> (1, V)
print("the same text:", row == generated[0].tolist(), "  tokens in the cache:", len(cache))
assert row == generated[0].tolist() and len(cache) == 69

# %% [markdown]
# ## What it saves, and what it costs
# Tokens computed for a text of T: T·(T + 1)/2 without, T with. Memory: keys and values, in every layer.

# %%
def cache_bytes(T, C, L, bytes_each=4):
    return 2 * L * T * C * bytes_each  # keys and values


for T in (16, 256, 1024):
    print(f"T = {T:5}: {T * (T + 1) // 2:8,} tokens computed without a cache, {T:5} with;  "
          f"GPT-2 small's cache holds {cache_bytes(T, 768, 12) / 1e6:6.1f} MB")
assert cache_bytes(1024, 768, 12) == 75_497_472

# %% [markdown]
# The time of each step, measured here:

# %% tags=["package"]
def times(use_cache):
    step_times, steps = [], generate_steps(model, prompt, 240, use_cache=use_cache)
    start = time.perf_counter()
    for _ in steps:
        step_times.append((time.perf_counter() - start) * 1e3)
        start = time.perf_counter()
    return step_times


times(True)  # warm up
step_times = {"without cache": times(False), "with KV cache": times(True)}
figure, axis = plt.subplots(figsize=(7, 4))
for name, ms in step_times.items():
    smooth = [statistics.median(ms[max(0, i - 7) : i + 8]) for i in range(len(ms))]
    axis.plot(range(9, 9 + len(ms)), smooth, label=name)
axis.set_xlabel("tokens so far"), axis.set_ylabel("ms for the next token (median of 15)")
axis.set_ylim(0), axis.legend()
save_plot(figure, "05_generation")
totals = {name: sum(ms) for name, ms in step_times.items()}
print({name: f"{total:.0f} ms" for name, total in totals.items()}, "for 240 tokens")

# %% [markdown]
# When the text becomes longer than the context, the window slides, every token gets another position, and
# everything in the cache is wrong. `generate` then continues without it.
#
# ## Exercises
# 1. Sample instead of taking the largest: divide the logits by a temperature, softmax, `torch.multinomial`.
#    Show that the sampled shares agree with the probabilities at temperature 0.5, 1 and 2.
# 2. Keep only the k largest logits before sampling (top-k). Why set the others to −∞ and not to 0?
# 3. How many bytes does the cache of GPT-2 xl (C = 1600, L = 48) take for 32 texts of 1,024 tokens? How many
#    with 16-bit numbers, and if its 25 heads shared only 5 sets of keys and values?
#
# Solutions: `lessons/solutions/04_gpt/05_generation.py`
