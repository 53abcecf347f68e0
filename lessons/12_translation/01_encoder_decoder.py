# ---
# jupyter:
#   jupytext:
#     text_representation: {extension: .py, format_name: percent}
# ---

# %% [markdown]
# # 1. Encoder and decoder: who may look at what?
#
# **Question.** A translator reads one text and writes another. Three attentions take part. Which token may look
# at which, and why are there exactly three masks?
#
# **For example.** "I am tired" -> "ich bin müde". While "bin" is written, the whole English sentence may be
# seen, and of the German one only "ich".
#
# **Predict first.** A batch has two sources of 5 and 3 tokens; their translations have 4 and 2. Which of the
# three attentions needs to know that the second source ends after 3 tokens? Which would cheat without a mask?
#
# | attention | queries | keys and values | mask |
# |---|---|---|---|
# | of the encoder | source | source | padding of the source |
# | of the decoder | target | target | causal: no token sees a later one |
# | cross-attention | target | source | padding of the source |
#
# **You need.** Chapter 04.

# %%
import math

import matplotlib.pyplot as plt

import tinygrad_llm as torch
import tinygrad_llm.nn.functional as F
from tinygrad_llm import nn
from tinygrad_llm.study.lesson import save_plot

# %% [markdown]
# ## By hand: one function, three masks
# Attention does not know what it is used for. Queries (B, H, T, D) meet keys (B, H, S, D), and T and S may differ.

# %%
def attention(queries, keys, values, mask):
    scores = queries @ keys.transpose(-2, -1) / math.sqrt(queries.shape[-1])  # (B, H, T, D) -> (B, H, T, S)
    weights = torch.softmax(scores.masked_fill(~mask, float("-inf")), dim=-1)
    return weights @ values, weights  # (B, H, T, D), (B, H, T, S)


real = torch.tensor([[1, 1, 1, 1, 1], [1, 1, 1, 0, 0]]) == 1  # (B, S): which source tokens are real
T, S = 4, 5
padding = real[:, None, None, :]  # (B, S) -> (B, 1, 1, S): the same for all heads and queries
causal = torch.ones(T, T).tril() == 1  # (T, T)
masks = {"encoder": padding.expand(2, 1, S, S), "decoder": causal.expand(2, 1, T, T),
         "cross-attention": padding.expand(2, 1, T, S)}  # fmt: skip
for name, mask in masks.items():
    print(f"{name:16} {tuple(mask.shape[2:])}, pairs that may meet: {[int(m.sum().item()) for m in mask]}")

torch.manual_seed(123)
H, D = 2, 8
queries = torch.randn(2, H, T, D)  # of the target
keys, values = torch.randn(2, H, S, D), torch.randn(2, H, S, D)  # of the source
y, weights = attention(queries, keys, values, masks["cross-attention"])
assert tuple(y.shape) == (2, H, T, D) and tuple(weights.shape) == (2, H, T, S)
assert weights[1, :, :, 3:].abs().max().item() == 0.0, "padding gets no weight"
same = F.scaled_dot_product_attention(queries, keys, values, attn_mask=padding)
assert torch.allclose(y, same, atol=1e-6)

# %% [markdown]
# The masks are needed for different reasons. Without the padding masks a translation would depend on how long
# its *neighbours* in the batch are. Without the causal mask the loss in training would be wonderful and the model
# useless: each position would copy the next token, which it is asked for.
#
# The target's padding needs no mask. It stands at the right, the causal mask hides it from all real tokens, and
# the loss ignores what is written there.

# %%
short = [z[1:, :, :3] for z in (keys, values)]  # the second source alone, without padding
alone, _ = attention(queries[1:], *short, torch.ones(1, 1, 1, 3) == 1)
print(f"largest change of the second text by its neighbour: {(y[1:] - alone).abs().max().item():.4f}")
assert torch.allclose(y[1:], alone, atol=1e-6)
open_y, _ = attention(queries[1:], keys[1:], values[1:], torch.ones(1, 1, 1, S) == 1)
print(f"and without the padding mask: {(open_y - alone).abs().max().item():.4f}")
assert (open_y - alone).abs().max().item() > 0.1

# %% [markdown]
# ## By hand: why each part is added to its input
# A block computes x + f(x). Learning to change nothing is then learning f = 0. Without the shortcut each of a
# stack of layers must learn the identity. Let both try: 6 layers with a tanh, the target is the input itself.

# %%
def identity_losses(shortcut, steps=150):
    torch.manual_seed(1)
    layers = nn.ModuleList([nn.Linear(16, 16) for _ in range(6)])
    optimizer = torch.optim.Adam(layers.parameters(), lr=3e-3)
    losses = []
    for _ in range(steps):
        x = z = torch.randn(64, 16)
        for layer in layers:
            z = z + torch.tanh(layer(z)) if shortcut else torch.tanh(layer(z))
        loss = ((z - x) ** 2).mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    return losses


plain, residual = identity_losses(False), identity_losses(True)
print(f"squared error of the identity after 150 steps: {plain[-1]:.2f} without shortcuts, {residual[-1]:.2f} with")
assert residual[-1] < 0.1 * plain[-1]

# %% [markdown]
# ## By hand: heads as wide as the model
# Usually H heads share the model's channels: 8 heads of 64 for 512. Nothing in the formula asks for that. With 8
# heads of 512 each the matrices of queries, keys and values are 8 times as large.

# %%
C, heads = 512, 8
for width in (C // heads, C):
    projections = 3 * C * heads * width + heads * width * C  # W_q, W_k, W_v and W_o
    print(f"{heads} heads of {width:3}: {projections:,} weights")
assert 4 * C * heads * C == 8_388_608

# %% [markdown]
# ## With the package
# `layers.Attention` has `cross=True` and `head_dim`; `models.Transformer` puts the three together.

# %% tags=["package"]
from tinygrad_llm.layers.attention import Attention
from tinygrad_llm.models import Transformer, TransformerConfig

wide = Attention(C, heads, head_dim=C)
assert sum(p.numel() for n, p in wide.named_parameters() if n.endswith("weight")) == 8_388_608
torch.manual_seed(0)
cross = Attention(H * D, H, cross=True)
target, source = torch.randn(2, T, H * D), torch.randn(2, S, H * D)
q = cross.q(target).view(2, T, H, D).transpose(1, 2)  # (B, T, C) -> (B, H, T, D)
k, v = cross.kv(source).view(2, S, 2 * H, D).transpose(1, 2).split(H, dim=1)  # (B, H, S, D) each
by_hand = cross.out_proj(attention(q, k, v, padding)[0].transpose(1, 2).reshape(2, T, H * D))
assert torch.allclose(cross(target, memory=source, mask=padding), by_hand, atol=1e-6)

model = Transformer(TransformerConfig(vocab_size=20, context_length=16, emb_dim=16, hidden_dim=32, n_layers=1,
                                      n_decoder_layers=1, n_heads=2, drop_rate=0.0))  # fmt: skip
ids, decoder_ids = torch.randint(3, 20, (2, S)), torch.randint(3, 20, (2, T))
logits = model(ids, decoder_ids, attention_mask=real.long())  # (B, T, V)
changed = decoder_ids.clone()
changed[:, 3] = 4  # the last target token: earlier logits must not move
assert torch.allclose(model(ids, changed, attention_mask=real.long())[:, :3], logits[:, :3], atol=1e-6)
changed = ids.clone()
changed[1, 4] = 3  # a padded source token: nothing must move
assert torch.allclose(model(changed, decoder_ids, attention_mask=real.long()), logits, atol=1e-6)
print("logits:", tuple(logits.shape), "and no token sees what it should not")

# %% tags=["package"]
figure, axes = plt.subplots(1, 3, figsize=(10, 3))
for panel, (name, mask) in zip(axes, masks.items()):
    seen = mask[1, 0]  # (queries, keys)
    panel.imshow(seen.float().numpy(), cmap="Blues", vmin=0, vmax=1.4)
    panel.set_xticks(range(seen.shape[1])), panel.set_yticks(range(seen.shape[0]))
    panel.set_title(f"{name}: second text"), panel.set_xlabel("keys"), panel.set_ylabel("queries")
figure.tight_layout()
save_plot(figure, "01_encoder_decoder")

# %% [markdown]
# ## Exercises
# 1. Whose lengths decide the shape of the cross-attention's weights? Which of the three attentions needs the most
#    operations for sources of 30 tokens and targets of 10?
# 2. Show with `attention` that padding at the *left* of the source works as well, if the mask says where it is.
# 3. An encoder-decoder of 6 + 6 blocks with C = 512 and a feed forward of 2,048: how many weights are in the
#    matrices of the encoder's blocks, and how many in the decoder's?
#
# Solutions: `lessons/solutions/12_translation/01_encoder_decoder.py`
