# ---
# jupyter:
#   jupytext:
#     text_representation: {extension: .py, format_name: percent}
# ---

# %% [markdown]
# # Solutions: a CRF
#
# ## 1. Without transitions every token is alone
# exp(s) is a product of one factor for each token, so Z is the product of the tokens' sums: log Z is the sum of the
# tokens' logsumexp, the marginals are softmax, and the loss is the cross-entropy, added up over the tokens.

# %%
import itertools

import tinygrad_llm as torch
import tinygrad_llm.nn.functional as F

torch.manual_seed(123)
e = torch.randn(4, 3)  # (T, K)
paths = list(itertools.product(range(3), repeat=4))
scores = torch.stack([sum(e[t, k] for t, k in enumerate(path)) for path in paths])
log_Z = torch.logsumexp(scores, dim=0)
assert torch.allclose(log_Z, torch.logsumexp(e, dim=1).sum(), atol=1e-5)
target = [0, 2, 1, 1]
loss = log_Z - sum(e[t, k] for t, k in enumerate(target))
assert torch.allclose(loss, F.cross_entropy(e, torch.tensor(target), reduction="sum"), atol=1e-5)
first = sum((s - log_Z).exp() for path, s in zip(paths, scores) if path[0] == 2)
assert torch.allclose(first, torch.softmax(e, dim=1)[0, 2], atol=1e-5)
print(f"log Z {log_Z.item():.4f}, loss {loss.item():.4f}")

# %% [markdown]
# ## 2. None
# Every path of T tokens has T − 1 transitions, so each score grows by 3·(T − 1), and log Z by the same. Only differences
# within A count; the same holds for start and end.

# %%
A = torch.randn(3, 3)


def probabilities(A):
    scores = torch.stack([
        sum(e[t, k] for t, k in enumerate(path)) + sum(A[i, j] for i, j in zip(path, path[1:]))
        for path in paths
    ])
    return torch.softmax(scores, dim=0)


p = probabilities(A)
assert torch.allclose(p, probabilities(A + 3.0), atol=1e-5) and abs(p.sum().item() - 1) < 1e-5
assert not torch.allclose(p, probabilities(2 * A), atol=1e-5)  # differences within A do count

# %% [markdown]
# ## 3. More than atoms on earth, and fewer than a photo has pixels

# %%
n_paths, additions = 9**60, 59 * 9 * 9
print(f"{float(n_paths):.1e} paths, {additions:,} additions of a score and a transition")
assert n_paths > 10**57 and additions == 4779
