# ---
# jupyter:
#   jupytext:
#     text_representation: {extension: .py, format_name: percent}
# ---

# %% [markdown]
# # Solutions: the whole GPT

# %%
import tinygrad_llm as torch
import tinygrad_llm.nn.functional as F
from tinygrad_llm import nn

# %% [markdown]
# ## 1. Tied weights
# Assign the parameter, not a copy. `parameters()` gives each tensor once. In the small model below, the
# embedding's use gives a gradient to the rows that were looked up; the output layer's use to all rows.

# %%
class Tiny(nn.Module):
    def __init__(self, tied):
        super().__init__()
        self.tok_emb = nn.Embedding(7, 4)
        self.out_head = nn.Linear(4, 7, bias=False)
        if tied:
            self.out_head.weight = self.tok_emb.weight  # both are (7, 4)

    def forward(self, ids):
        return self.out_head(torch.tanh(self.tok_emb(ids)))  # (T) -> (T, 7)


ids, targets = torch.tensor([1, 2, 2]), torch.tensor([2, 2, 3])
torch.manual_seed(1)
tied, apart = Tiny(True), Tiny(False)
with torch.no_grad():
    apart.tok_emb.weight.copy_(tied.tok_emb.weight), apart.out_head.weight.copy_(tied.tok_emb.weight)
for model in (tied, apart):
    F.cross_entropy(model(ids), targets).backward()
print("parameters:", sum(p.numel() for p in tied.parameters()), "instead of", sum(p.numel() for p in apart.parameters()))
assert tied.out_head.weight is tied.tok_emb.weight and len(list(tied.parameters())) == 1
both = apart.tok_emb.weight.grad + apart.out_head.weight.grad
assert torch.allclose(tied.tok_emb.weight.grad, both, atol=1e-6)
assert not apart.tok_emb.weight.grad[5].any() and apart.out_head.weight.grad[5].any()

# %% [markdown]
# ## 2. Three dropout rates
# One after the sum of the embeddings; one on attention's weights, inside the op; one on what each half of
# a block adds. With rate 1 a part becomes zero, which is a good test of where a rate is used.

# %%
class Half(nn.Module):
    """Half a block: x + dropout(f(x)), where f is attention with dropout on its weights."""

    def __init__(self, attention_rate, shortcut_rate):
        super().__init__()
        self.attention_rate = attention_rate
        self.drop_shortcut = nn.Dropout(shortcut_rate)

    def forward(self, x):  # (B, H, T, D): x is query, key and value
        rate = self.attention_rate if self.training else 0.0
        y = F.scaled_dot_product_attention(x, x, x, dropout_p=rate, is_causal=True)
        return x + self.drop_shortcut(y)


x = torch.randn(1, 1, 5, 4)
emb_dropped = F.dropout(x, 1.0)
print("embedding rate 1: all", emb_dropped.abs().max().item(), "  shortcut rate 1: x unchanged:", torch.equal(Half(0.0, 1.0)(x), x))
assert not emb_dropped.any() and torch.equal(Half(0.0, 1.0)(x), x)
assert not torch.equal(Half(0.0, 0.0)(x), x)
assert torch.equal(Half(0.5, 0.5).eval()(x), Half(0.0, 0.0).eval()(x))  # no dropout in evaluation mode

# %% [markdown]
# ## 3. The largest C
# The embeddings alone take 51,281·C. Try multiples of 64.

# %%
def count(C):
    return (50_257 + 1_024) * C + 12 * (12 * C * C + 13 * C) + 2 * C


best = max(C for C in range(64, 1025, 64) if count(C) <= 50_000_000)
print(f"C = {best}: {count(best):,} parameters; C = {best + 64}: {count(best + 64):,}")
assert best == 384 and count(best) <= 50_000_000 < count(best + 64)
