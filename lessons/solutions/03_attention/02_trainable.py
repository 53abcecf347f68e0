# ---
# jupyter:
#   jupytext:
#     text_representation: {extension: .py, format_name: percent}
# ---

# %% [markdown]
# # Solutions: attention that learns what to look for
#
# ## 1. Linear layers and plain matrices
# A linear layer computes x·Wᵀ. So the plain matrix is the transposed one.

# %%
import tinygrad_llm as torch
import tinygrad_llm.nn.functional as F
from tinygrad_llm import nn


class Attention(nn.Module):
    def __init__(self, d_in, d_out, shared=False):
        super().__init__()
        self.W_query = nn.Linear(d_in, d_out, bias=False)
        self.W_key = self.W_query if shared else nn.Linear(d_in, d_out, bias=False)
        self.W_value = nn.Linear(d_in, d_out, bias=False)

    def forward(self, x):
        return F.scaled_dot_product_attention(self.W_query(x), self.W_key(x), self.W_value(x))


torch.manual_seed(789)
layer, x = Attention(3, 2), torch.rand(1, 4, 3)
with torch.no_grad():
    W_query, W_key, W_value = (m.weight.T for m in (layer.W_query, layer.W_key, layer.W_value))
    scores = (x @ W_query) @ (x @ W_key).transpose(1, 2) / 2**0.5  # (1, 4, 4)
    plain = torch.softmax(scores, dim=-1) @ (x @ W_value)  # (1, 4, 2)
    print(plain)
    assert torch.allclose(plain, layer(x), atol=1e-6)

# %% [markdown]
# ## 2. One matrix for queries and keys
# Then s_ij = s_ji, and a token is always similar to itself. "A looks at a" would force "A" and "a" to have
# the same vector, and A would look at itself as much as at a, so half of what it outputs is not the answer.
# It can still learn a part, because the last layer can compensate for a constant share, but it stays worse.

# %%
def batch(n):
    kinds = torch.stack([torch.randperm(4) for _ in range(n)])  # (n, 4)
    values = torch.rand(n, 4)
    askers = torch.cat([torch.eye(4), torch.zeros(4, 5)], dim=1).expand(n, 4, 9)
    answers = torch.cat(
        [torch.zeros(n, 4, 4), F.one_hot(kinds, 4).float(), values.gather(1, kinds).unsqueeze(-1)], dim=-1
    )
    return torch.cat([askers, answers], dim=1), values  # (n, 8, 9), (n, 4)


final = {}
for shared in (False, True):
    torch.manual_seed(2)
    model = nn.Sequential(Attention(9, 8, shared), nn.Linear(8, 1))
    optimizer = torch.optim.AdamW(model.parameters(), lr=0.03)
    last = []
    for step in range(300):
        x, target = batch(64)
        loss = F.mse_loss(model(x)[:, :4, 0], target)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        last.append(loss.item())
    final[shared] = sum(last[-20:]) / 20
print("one matrix is worse:", final[True] > 2 * final[False])
assert final[True] > 2 * final[False]

# %% [markdown]
# ## 3. Only the product counts
# (2·q)·(k/2)ᵀ = q·kᵀ. A single matrix has no meaning by itself; the product W_q·W_kᵀ has one.

# %%
x = torch.rand(1, 4, 3)
before = layer(x)
with torch.no_grad():
    layer.W_query.weight *= 2.0
    layer.W_key.weight /= 2.0
print("unchanged:", torch.allclose(layer(x), before, atol=1e-6))
assert torch.allclose(layer(x), before, atol=1e-6)
