# ---
# jupyter:
#   jupytext:
#     text_representation: {extension: .py, format_name: percent}
# ---

# %% [markdown]
# # Solutions: a critic for each token
#
# ## 1. λ = 1
# The surprises telescope: each V that is added at one token is taken away at the next. Only the first V is left, and the
# rewards.

# %%
import tinygrad_llm as torch


def gae(rewards, values, lam):
    advantages, after, following = [], 0.0, 0.0
    for r, v in zip(reversed(rewards), reversed(values)):
        after = (r + following - v) + lam * after
        following = v
        advantages.append(after)
    return torch.tensor(advantages[::-1])


torch.manual_seed(0)
values, rewards = torch.randn(6), torch.randn(6)
still_to_come = torch.tensor([rewards[t:].sum().item() for t in range(6)])
assert torch.allclose(gae(rewards.tolist(), values.tolist(), 1.0), still_to_come - values, atol=1e-5)

# %% [markdown]
# ## 2. A critic that knows nothing
# With λ = 1 every token has the reward as its advantage: that is REINFORCE. With λ = 0 the last token alone has it, and the
# others learn nothing until the critic has learned.

# %%
rewards, zeros = [0.0, 0.0, 0.0, 1.0], [0.0] * 4
assert gae(rewards, zeros, 1.0).tolist() == [1.0, 1.0, 1.0, 1.0]
assert gae(rewards, zeros, 0.0).tolist() == [0.0, 0.0, 0.0, 1.0]
