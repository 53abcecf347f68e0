# ---
# jupyter:
#   jupytext:
#     text_representation: {extension: .py, format_name: percent}
# ---

# %% [markdown]
# # 9. What attention costs: bytes of cache, floating-point operations, utilisation
#
# **Question.** Before anything is trained: how many bytes does a model keep of a text, how many operations
# does a step take, and how much of what the machine can do is that?
#
# **For example.** A cache of 2·12·768 numbers per token is 18,432 numbers. For 1,024 tokens in float32 that
# is 75 MB, before a single word is written.
#
# **Predict first.** A model has 32 layers, 4,096 channels and 32 heads, and a text has 32,768 tokens. In 16
# bits its cache is as large as the weights of an 8-billion-parameter model. Which saves more: 8 key heads in
# place of 32, or a window of 1,024 tokens in 27 of the 32 layers?
#
# | layer | cache of a text, numbers | operations between tokens, forward, per token |
# |---|---|---|
# | full attention | 2·T·KV·D | 4·H·D·T |
# | window w | 2·min(T, w)·KV·D | 4·H·D·min(T, w) |
# | latent attention, R + P channels | T·(R + P) | 2·H·(D + P + D)·T |
# | gated DeltaNet | H·K·D for every T | 6·H·K·D |
#
# **You need.** Lessons 1 to 6, chapter 04, lesson 4.

# %%
import matplotlib.pyplot as plt

import tinygrad_llm
from tinygrad_llm.study.lesson import save_plot

# %% [markdown]
# ## By hand: bytes

# %%
def cache_bytes(layers, tokens, kv_heads, D, bytes_each=2):
    return 2 * layers * tokens * kv_heads * D * bytes_each


T, L, D = 32_768, 32, 128
mha, gqa = (cache_bytes(L, T, kv, D) for kv in (32, 8))
swa, both = (cache_bytes(5, T, kv, D) + cache_bytes(27, 1024, kv, D) for kv in (32, 8))
for name, n in (("32 key heads", mha), ("8 key heads", gqa), ("window in 27 layers", swa), ("both", both)):
    print(f"{name:20} {n:14,} bytes  {n / 1e9:6.2f} GB")
assert [round(n / 1e9, 2) for n in (mha, gqa, swa, both)] == [17.18, 4.29, 3.14, 0.78]

# %% [markdown]
# The two savings multiply. Latent attention keeps one short vector per token, from which the keys and values
# of all heads are computed: 48 layers, 24 heads of 86 channels, 8,192 tokens, a vector of 1,024.

# %%
full, latent = cache_bytes(48, 8192, 24, 86), 48 * 8192 * 1024 * 2
print(f"24 heads of 86: {full / 1e9:.2f} GB, latent vectors of 1,024: {latent / 1e9:.2f} GB")
assert [round(n / 1e9, 2) for n in (full, latent)] == [3.25, 0.81]

# %% [markdown]
# ## By hand: operations
# A product of shapes (m, k) and (k, n) takes 2·m·k·n operations, a multiplication and an addition each. By
# convention papers count all T × T pairs of a query and a key, and backward as twice forward: one product
# for the gradient of each factor. GPT-2 with 124 million parameters, one text of 1,024 tokens:

# %%
V, T, C, L = 50_257, 1024, 768, 12
blocks = L * 2 * T * 12 * C * C  # qkv 3·C², out_proj C², feed forward 8·C²
scores = L * 2 * 2 * T * T * C  # q·kᵀ, and the weighted sum of values
head = 2 * T * C * V
forward = blocks + scores + head
print(f"blocks {blocks:,}\nscores {scores:,}\nhead   {head:,}")
print(f"forward {forward:,}, with backward {3 * forward:,}")
assert forward == 291_648_307_200 and 3 * forward == 874_944_921_600

# %% [markdown]
# The same for a text of T tokens grows like T·(24·L·C² + 2·V·C) + T²·4·L·C: below which length are the scores
# the smaller part? Where 4·L·C·T < 24·L·C² + 2·V·C.

# %%
equal = (24 * L * C * C + 2 * V * C) / (4 * L * C)
print(f"scores cost as much as all matrices together at {equal:,.0f} tokens")
assert 6700 < equal < 6710

# %% [markdown]
# ## With the package
# `estimate` makes the model without numbers and adds up what its layers say of themselves. From a terminal:
# `tinygrad-llm estimate --attention gqa --n-kv-heads 8 --n-heads 32 --emb-dim 4096 --n-layers 32`.

# %% tags=["package"]
from tinygrad_llm import study
from tinygrad_llm.models import GPT, GPTConfig
from tinygrad_llm.models.estimate import estimate, find_config

sizes = dict(context_length=32_768, emb_dim=4096, n_heads=32, n_layers=32)
window = dict(attention="swa", window=1024, ratio=5)  # five blocks with a window, one without
kinds = {"mha": {}, "gqa": dict(attention="gqa", n_kv_heads=8), "swa": window,
         "both": dict(window, n_kv_heads=8), "deltanet": dict(attention="deltanet")}
estimates = {name: estimate(GPTConfig(**sizes, **kind), dtype="bfloat16") for name, kind in kinds.items()}
assert [estimates[name].cache_bytes for name in ("mha", "gqa", "swa", "both")] == [mha, gqa, swa, both]
assert estimate(GPTConfig()).forward_flops == forward
print(estimates["both"])

# %% [markdown]
# ## What is really executed
# Two things differ from the convention. A causal attention skips the blocks of the masked half, which is
# less work. And backward computes the scores again instead of keeping T × T numbers, which is more. A trace
# counts both ways.

# %% tags=["package"]
model = GPT(GPTConfig(vocab_size=100, context_length=512, emb_dim=64, n_heads=4, n_layers=2, drop_rate=0.0))
text = tinygrad_llm.randint(0, 100, (2, 512))
with study.trace(model) as trace:
    model.loss(text, text).backward()
print(trace.table("flops"))
by_op = {op.name: op for op in trace.ops}
attention = by_op["scaled_dot_product_attention"]
assert trace.convention == estimate(model.config, batch=2).training_flops
assert attention.executed < 3 * attention.convention and by_op["linear"].executed == 3 * by_op["linear"].convention

# %% [markdown]
# Forward computes (T/64 + 1)/2 · T/64 blocks of 64 × 64 pairs instead of (T/64)²; backward does 5 products
# in place of 4 on the same blocks. For T = 512 that is (2 + 5)/(2 + 4) · 9/16 = 0.66 of the convention.

# %%
n = 512 // 64
share = (n * (n + 1) / 2) / n**2 * (2 + 5) / (2 + 4)
print(f"executed / convention of attention at 512 tokens: {share:.3f}")
assert abs(share - 0.656) < 1e-3

# %% [markdown]
# ## Utilisation
# Model FLOPs utilisation (MFU) is the operations that the model *needs* per second over what the machine's
# matrix products reach. `tinygrad-llm pretrain` shows it in every line.

# %% tags=["package"]
import time

from tinygrad_llm.training import flops_utilization, peak_flops

peak, times = peak_flops(), []
for _ in range(5):
    begin = time.perf_counter()
    model.loss(text, text).backward()
    times.append(time.perf_counter() - begin)
used = flops_utilization(model, text.numel() / min(times), peak)
print(f"{peak / 1e9:.0f} GFLOP/s of matrix products, of which a small model uses {used:.0%}")
assert used > 0.0  # above 1 only where other programs slowed the measurement of the peak

figure, (left, right) = plt.subplots(1, 2, figsize=(11, 4))
lengths = [512 * 2**i for i in range(8)]
for name, kind in kinds.items():
    made = [estimate(GPTConfig(**sizes, **kind), dtype="bfloat16", context_length=t) for t in lengths]
    left.plot(lengths, [e.cache_bytes / 1e9 for e in made], "o-", label=name)
    right.plot(lengths, [e.forward_flops / t / 1e9 for t, e in zip(lengths, made)], "o-", label=name)
left.set_xscale("log", base=2), left.set_yscale("log"), left.legend()
left.set_xlabel("tokens of a text"), left.set_ylabel("GB of cache, 16 bits")
right.set_xscale("log", base=2), right.legend()
right.set_xlabel("tokens of a text"), right.set_ylabel("GFLOPs forward per token")
save_plot(figure, "09_memory_and_flops")

# %% [markdown]
# ## Exercises
# 1. From which length on is the cache of a gated DeltaNet (32 heads, memories of 128 × 128 numbers in 32 bits,
#    its convolution left out) smaller than that of full attention with 32 heads of 128 in 16 bits?
# 2. A mixture of 64 experts sends each token to 4 of them. Compared with one dense feed forward as wide as one
#    expert: how many times the weights, and how many times the operations per token?
# 3. Training GPT-2 124M on 10 billion tokens in texts of 1,024: how many days at 100 TFLOP/s and 40 % MFU, by
#    convention?
#
# Solutions: `lessons/solutions/11_attention_variants/09_memory_and_flops.py`
