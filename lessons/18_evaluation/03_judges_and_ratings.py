# ---
# jupyter:
#   jupytext:
#     text_representation: {extension: .py, format_name: percent}
# ---

# %% [markdown]
# # 3. Judges: both orders, Elo, Bradley and Terry
#
# **Question.** Most answers have no single right text. A large model can judge them: but it prefers what it reads first. How
# does one get ratings from such votes that mean something?
#
# **For example.** In 100 pairs a judge says "the first" 60 times, because it likes first places. If A always
# stood first, A seems to win by 60 to 40.
#
# **Predict first.** A judge that always says "the first one is better" compares two equal models, the new one always first.
# Which win rate does the new model get? And which one if each pair is shown in both orders?
#
# **You need.** Lesson 2.

# %%
import matplotlib.pyplot as plt

import tinygrad_llm as torch
import tinygrad_llm.nn.functional as F
from tinygrad_llm.study.lesson import save_plot

torch.manual_seed(123)

# %% [markdown]
# ## By hand: a judge with a bias
# The new model's answers are better by `ahead`, the judge adds `bias` to what it reads first, and decides by chance:
# P(first wins) = σ(difference + bias). In both orders, two verdicts that disagree are a draw.

# %%
N = 2000
chance = torch.rand(N, 2)  # shape (N, 2)


def win_rates(ahead, bias):
    """(only with the new one first, in both orders) of N questions."""
    first = (chance[:, 0] < torch.sigmoid(torch.tensor(ahead + bias))).float()  # the new one is read first
    second = (chance[:, 1] >= torch.sigmoid(torch.tensor(bias - ahead))).float()  # the old one is read first
    return first.mean().item(), ((first + second) / 2).mean().item()


biases = [0.0, 0.5, 1.0, 2.0, 3.0]
curves = {ahead: [win_rates(ahead, bias) for bias in biases] for ahead in (0.0, 1.0)}
for ahead, values in curves.items():
    print(f"ahead by {ahead}:", " ".join(f"{a:.3f}/{b:.3f}" for a, b in values))
assert curves[0.0][-1][0] > 0.9 and abs(curves[0.0][-1][1] - 0.5) < 0.02
assert curves[1.0][-1][1] < curves[1.0][0][1], "draws by disagreement hide a part of the difference"

# %% [markdown]
# ## By hand: Elo
# Before a vote a rating difference of 400 says "ten wins for one loss": expected = 1/(1 + 10^((R₂ − R₁)/400)). After it the
# winner gets k·(score − expected) from the loser. Two new players with 1000: 1016 and 984, with k = 32.


# %%
def elo(votes, players, k=32.0):
    ratings = dict.fromkeys(players, 1000.0)
    for winner, loser in votes:
        expected = 1 / (1 + 10 ** ((ratings[loser] - ratings[winner]) / 400))
        ratings[winner] += k * (1 - expected)
        ratings[loser] -= k * (1 - expected)
    return ratings


assert elo([("a", "b")], "ab") == {"a": 1016.0, "b": 984.0}
true = {"a": 1200.0, "b": 1050.0, "c": 950.0, "d": 800.0}
names = list(true)
votes = []
for draw in torch.rand(600, 3).tolist():
    first = names[int(draw[0] * 4)]
    second = names[(names.index(first) + 1 + int(draw[1] * 3)) % 4]
    wins = draw[2] < 1 / (1 + 10 ** ((true[second] - true[first]) / 400))
    votes.append((first, second) if wins else (second, first))
orders = [elo([votes[i] for i in torch.randperm(len(votes)).tolist()], names) for _ in range(30)]
spread = max(o["a"] for o in orders) - min(o["a"] for o in orders)
print(f"Elo of a in 30 orders of the same votes: from {min(o['a'] for o in orders):.0f} to {max(o['a'] for o in orders):.0f}")
assert spread > 30, "the order of the votes changes the ratings"

# %% [markdown]
# ## By hand: Bradley and Terry
# The ratings under which the votes are likeliest: P(i beats j) = σ(s_i − s_j), and the loss of a vote is softplus(s_loser −
# s_winner), a cross-entropy. Its gradient is what the winner lacked: 1 − P. The loss is convex, so the order does not matter.

# %%
s = torch.zeros(4, requires_grad=True)  # shape (4,)
won = torch.tensor([names.index(w) for w, _ in votes])  # shape (votes,)
lost = torch.tensor([names.index(x) for _, x in votes])
for step in range(300):
    loss = F.softplus(s[lost] - s[won]).mean()
    (g,) = torch.autograd.grad(loss, s)
    with torch.no_grad():
        s -= 4.0 * g
ratings = 1000 + (s - s.mean()).detach() * (400 / torch.log(torch.tensor(10.0)))
print("Bradley-Terry", {n: round(r) for n, r in zip(names, ratings.tolist())}, " true", true)
assert g.abs().max() < 1e-3 and ratings[0] > ratings[1] > ratings[3]

# %% [markdown]
# ## With the package
# The same ratings by Newton's method, with intervals: the votes are drawn anew 200 times. `tinygrad-llm judge` asks a model
# behind a server, in both orders, and prints win rates, Elo and Bradley-Terry; a judge's scores of the correct answers and of
# wrong ones (`--baseline`) show whether it can judge at all.

# %% tags=["package"]
from tinygrad_llm.evaluation import bradley_terry_intervals
from tinygrad_llm.evaluation import elo as package_elo
from tinygrad_llm.evaluation.verdicts import parse_score, parse_verdict

intervals = bradley_terry_intervals(votes, samples=200)
for i, name in enumerate(names):
    one = intervals[name]
    print(f"{name}: {one.value:.0f} [{one.low:.0f}, {one.high:.0f}], true {true[name]:.0f}")
    assert abs(one.value - ratings[i].item()) < 1.0
again = package_elo(votes)
assert all(abs(again[n] - r) < 1e-9 for n, r in elo(votes, names).items())
assert parse_score("Two mistakes. Score: 85/100") == 85 and parse_score("between 40 and 60") is None
assert parse_verdict("Both are short. [[B]]") == 0.0

# %% [markdown]
# **Answer.** Show each pair in both orders, count disagreement as a draw, and report how often that happened. Elo is for
# players who change while they play; for a fixed set of votes Bradley and Terry's ratings need no order and have intervals.

# %% tags=["package"]
figure, axes = plt.subplots(1, 2, figsize=(10, 4))
for ahead, values in curves.items():
    axes[0].plot(biases, [a for a, _ in values], "o-", label=f"ahead by {ahead:g}, read first")
    axes[0].plot(biases, [b for _, b in values], "o--", label=f"ahead by {ahead:g}, both orders")
axes[0].set_xlabel("bias of the judge for what it reads first"), axes[0].set_ylabel("win rate of the new model")
axes[0].legend()
for i, name in enumerate(names):
    axes[1].plot([i - 0.15] * 30, [o[name] for o in orders], ".", color="tab:blue", label="Elo, 30 orders" if i == 0 else None)
    one = intervals[name]
    axes[1].errorbar([i + 0.15], [one.value], [[one.value - one.low], [one.high - one.value]], fmt="o", color="tab:orange",
                     label="Bradley-Terry, 95 %" if i == 0 else None)
    axes[1].plot([i - 0.3, i + 0.3], [true[name]] * 2, "k--", label="true" if i == 0 else None)
axes[1].set_xticks(range(4)), axes[1].set_xticklabels(names), axes[1].set_ylabel("rating"), axes[1].legend()
figure.tight_layout()
save_plot(figure, "03_judges_and_ratings")

# %% [markdown]
# ## Exercises
# 1. Two players have played 11 times, and the first won 10 times. Show that Bradley and Terry's ratings differ by exactly 400
#    points. What do they become if it won all 11 times?
# 2. Derive the gradient of softplus(s_loser − s_winner), and compare it with Elo's rule: which step does Elo take?
# 3. A judge scores answers from 0 to 100, and replies "I would say 7 out of 10, maybe 8." Why is None a better reading than
#    7, 70 or 0? Show what counting such replies as 0 does to a mean.
#
# Solutions: `lessons/solutions/18_evaluation/03_judges_and_ratings.py`
