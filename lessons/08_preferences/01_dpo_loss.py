# ---
# jupyter:
#   jupytext:
#     text_representation: {extension: .py, format_name: percent}
# ---

# %% [markdown]
# # 1. The loss of DPO
#
# **Question.** Two answers to one question, and a person says which is better. How does a model learn from that?
#
# **For example.** The model gives the chosen answer −10 and the rejected one −12, the reference −11 and −11.
# The margin is β·(1 − (−1)) = 2β: it has moved the right way.
#
# **Answer.** It should raise the probability of the chosen answer y⁺ relative to that of the rejected one y⁻,
# compared with what a frozen copy of itself, the *reference*, gives them (Rafailov et al., 2023, equation 7):
#
#     margin = β·[ (log π(y⁺) − log π_ref(y⁺)) − (log π(y⁻) − log π_ref(y⁻)) ]
#     loss = −log σ(margin)
#
# At first π is π_ref, so the margin is 0 and the loss −log ½ = ln 2 = 0.693. **Check this first.**
#
# **You need.** Chapter 07; ln and the sigmoid.

# %%
import math

import matplotlib.pyplot as plt

import tinygrad_llm as torch
import tinygrad_llm.nn.functional as F
from tinygrad_llm import nn
from tinygrad_llm.study.lesson import save_plot

# %% [markdown]
# ## By hand: the log-probability of an answer
# It is a sum over the tokens of the answer; the prompt does not count. The logits at each place are about the
# *next* token, so the two are shifted by one.

# %%
torch.manual_seed(123)
V = 12
ids = torch.tensor([[1, 2, 3, 7, 8, 0], [1, 2, 3, 9, 0, 0]])  # (B, T): prompt 1 2 3, then an answer, then padding
mask = torch.tensor([[0, 0, 0, 1, 1, 0], [0, 0, 0, 1, 0, 0]])  # (B, T): which tokens belong to the answer


class Policy(nn.Module):
    """The smallest language model: scores for the next token from the last one alone."""

    def __init__(self):
        super().__init__()
        self.table = nn.Embedding(V, V)

    def forward(self, idx):
        return self.table(idx)  # (B, T) -> (B, T, V)


def answer_log_p(model, ids, mask):
    logits = model(ids)[:, :-1]  # (B, T, V) -> (B, T-1, V)
    log_p = F.log_softmax(logits, dim=-1).gather(-1, ids[:, 1:].unsqueeze(-1)).squeeze(-1)  # (B, T-1)
    return (log_p * mask[:, 1:]).sum(dim=1)  # (B)


model, reference = Policy(), Policy()
reference.load_state_dict(model.state_dict())
log_p = answer_log_p(model, ids, mask)
print("ids", tuple(ids.shape), " log-probabilities", tuple(log_p.shape), [round(x, 3) for x in log_p.tolist()])
table = F.log_softmax(model.table.weight, dim=-1)
assert torch.allclose(log_p[0], table[3, 7] + table[7, 8])  # 7 after 3, 8 after 7
assert torch.allclose(log_p[1], table[3, 9])

# %% [markdown]
# ## By hand: the loss
# Row 0 is the chosen answer, row 1 the rejected one.

# %%
beta = 0.5


def dpo(model):
    policy_log_p = answer_log_p(model, ids, mask)  # (2)
    with torch.no_grad():
        reference_log_p = answer_log_p(reference, ids, mask)  # (2)
    rewards = beta * (policy_log_p - reference_log_p)  # (2)
    margin = rewards[0] - rewards[1]
    return -F.logsigmoid(margin), rewards, margin


loss, _, margin = dpo(model)
print(f"at the start: margin {margin.item():.4f}, loss {loss.item():.4f} = ln 2")
assert abs(loss.item() - math.log(2)) < 1e-6 and margin.item() == 0.0

# %% [markdown]
# The gradient: ∂loss/∂margin = −σ(−margin). Its size is nearly 1 for a pair in the wrong order, and nearly 0 for a
# pair that is already well separated.

# %%
m = torch.tensor([-5.0, 0.0, 5.0], requires_grad=True)
(-F.logsigmoid(m)).sum().backward()
print("gradients at margins −5, 0, 5:", [round(g, 4) for g in m.grad.tolist()])
assert torch.allclose(m.grad, -torch.sigmoid(-m.detach()))

# %% [markdown]
# Train on this one pair. Watch both rewards: the *difference* must grow. DPO does not promise that the chosen
# answer becomes more likely.

# %%
initial = reference.table.weight.detach().clone()
optimizer = torch.optim.SGD(model.parameters(), lr=0.5)
history = []
for _ in range(60):
    loss, rewards, margin = dpo(model)
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
    history.append((loss.item(), rewards[0].item(), rewards[1].item()))
print(f"after 60 steps: loss {history[-1][0]:.3f}, reward chosen {history[-1][1]:.2f}, rejected {history[-1][2]:.2f}")
assert history[-1][0] < 0.4 and history[-1][1] > history[-1][2]
assert torch.equal(reference.table.weight, initial) and reference.table.weight.grad is None  # frozen
assert not torch.equal(model.table.weight, initial)  # the policy has moved

# %% [markdown]
# ## With the package
# `dpo_loss` takes the four log-probabilities, (B) each, and `log_probabilities` computes them.

# %% tags=["package"]
from tinygrad_llm.finetune import dpo_loss, log_probabilities

policy_log_p = log_probabilities(model(ids), ids, mask.bool())
with torch.no_grad():
    reference_log_p = log_probabilities(reference(ids), ids, mask.bool())
assert torch.allclose(policy_log_p, answer_log_p(model, ids, mask), atol=1e-6)
out = dpo_loss(policy_log_p[:1], policy_log_p[1:], reference_log_p[:1], reference_log_p[1:], beta=beta)
assert torch.allclose(out.loss, dpo(model)[0], atol=1e-6)
print("package: loss", round(out.loss.item(), 4), " rewards", out.chosen_rewards.tolist(), out.rejected_rewards.tolist())

# %%
figure, (left, right) = plt.subplots(1, 2, figsize=(10, 4))
x = torch.linspace(-6, 6, 100)
left.plot(x.tolist(), (-F.logsigmoid(x)).tolist(), label="loss"), left.plot(x.tolist(), torch.sigmoid(-x).tolist(), label="size of the gradient")
left.plot([0], [math.log(2)], "ko", label="start: ln 2"), left.set_xlabel("margin"), left.legend()
for i, name in ((1, "chosen"), (2, "rejected")):
    right.plot([h[i] for h in history], label=f"reward, {name}")
right.plot([h[0] for h in history], "k--", label="loss"), right.set_xlabel("step"), right.legend()
save_plot(figure, "01_dpo_loss")

# %% [markdown]
# ## Break it
# Forget to shift by one: take the logits at the token's own place. All shapes fit, the first loss is still ln 2,
# and the model learns nonsense. ln 2 is necessary, not sufficient.

# %%
own_place = (F.log_softmax(model(ids), dim=-1).gather(-1, ids.unsqueeze(-1)).squeeze(-1) * mask).sum(dim=1)
print("shifted:", [round(v, 3) for v in answer_log_p(model, ids, mask).tolist()],
      " not shifted:", [round(v, 3) for v in own_place.tolist()])
assert not torch.allclose(own_place, answer_log_p(model, ids, mask))

# %% [markdown]
# ## Exercises
# 1. Both answers are the same text. What are loss and gradient?
# 2. A long answer has a smaller log-probability. Does DPO therefore prefer short ones? What does dividing by the
#    length change?
# 3. Label smoothing ε assumes that a share ε of the pairs is in the wrong order. At which margin is the loss
#    lowest?
#
# Solutions: `lessons/solutions/08_preferences/01_dpo_loss.py`
