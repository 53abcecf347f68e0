# ---
# jupyter:
#   jupytext:
#     text_representation: {extension: .py, format_name: percent}
# ---

# %% [markdown]
# # Solutions: one vector for a whole text

# %%
import math

import tinygrad_llm as tl
from tinygrad_llm.finetune import GPTClassifier
from tinygrad_llm.models import GPT

PAD = 99
tl.manual_seed(123)
gpt = GPT(dict(vocab_size=100, context_length=16, emb_dim=32, n_heads=2, n_layers=2, drop_rate=0.0))
text = tl.randint(0, 99, (1, 8))
changed = text.clone()
changed[0, 7] = (changed[0, 7] + 1) % 99

# %% [markdown]
# ## 1. Without the causal mask

# %%
for causal in (True, False):
    model = GPTClassifier.from_gpt(gpt, pool="first", causal=causal, pad_token_id=PAD).eval()
    with tl.no_grad():
        difference = (model.features(text) - model.features(changed)).abs().max().item()
        longer = tl.cat([text, tl.full((1, 5), PAD)], dim=1)
        by_padding = (model.features(longer) - model.features(text)).abs().max().item()
    print(f"causal={causal}: the last token moves the first vector: {difference > 0}; padding does: {by_padding > 1e-5}")
    assert (difference > 0) == (not causal) and by_padding < 1e-5

# %% [markdown]
# ## 2. One half by chance
# The number of right answers of a coin is binomial: its standard deviation is √(n·¼), as a share 1/(2·√n).

# %%
sd = 1 / (2 * math.sqrt(300))
print(f"300 messages: 50 % ± {2 * sd:.1%} (two standard deviations)")
tl.manual_seed(1)
shares = tl.randint(0, 2, (2000, 300)).float().mean(dim=1)  # 2,000 coins on 300 messages
outside = ((shares - 0.5).abs() > 2 * sd).float().mean().item()
print(f"outside this range: {outside:.1%} of all coins")
assert 0.02 < outside < 0.07

# %% [markdown]
# ## 3. The mean of the real tokens

# %%
model = GPTClassifier.from_gpt(gpt, pool="mean", pad_token_id=PAD).eval()
batch = tl.cat([tl.cat([text, tl.full((1, 2), PAD)], dim=1), tl.randint(0, 99, (1, 10))])  # (2, 10)
with tl.no_grad():
    hidden = model.model.hidden_states(batch)  # (B, T, C)
    real = (batch != PAD).float().unsqueeze(-1)  # (B, T, 1)
    by_hand = (hidden * real).sum(dim=1) / real.sum(dim=1)  # (B, C)
    difference = (by_hand - model.features(batch)).abs().max().item()
print(f"by hand and with the package: largest difference {difference:.1e}")
assert difference < 1e-5
