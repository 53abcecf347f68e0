# ---
# jupyter:
#   jupytext:
#     text_representation: {extension: .py, format_name: percent}
# ---

# %% [markdown]
# # Solutions: self-consistency
#
# ## 1. A vote of three
# Three or two right answers win: p³ + 3p²(1 − p). With one right answer all three differ, and chance takes it in a third of
# the cases: 3p(1 − p)²/3. Together p³ + 3p²(1 − p) + p(1 − p)², which is more than p for every p between 0 and 1.

# %%
import tinygrad_llm as torch

p = torch.linspace(0.05, 0.95, 19)
exact = p**3 + 3 * p**2 * (1 - p) + p * (1 - p) ** 2
assert (exact > p).all()
torch.manual_seed(0)
right = torch.rand(40000, 3) < 0.3
n = right.sum(1)
chance = torch.rand(40000) < 1 / 3
drawn = torch.where(n >= 2, torch.ones(40000), torch.where(n == 1, chance.float(), torch.zeros(40000))).mean().item()
print(f"p = 0.3: formula {0.3**3 + 3 * 0.09 * 0.7 + 0.3 * 0.49:.3f}, drawn {drawn:.3f}")
assert abs(drawn - (0.3**3 + 3 * 0.09 * 0.7 + 0.3 * 0.49)) < 0.01

# %% [markdown]
# ## 2. Pairs
# What counts is how often the two differ, and to whose side. If all 24 are among the 28, four questions were gained and
# none lost. With 16 in common, 12 were gained and 8 lost: that is chance.

# %% tags=["package"]
from tinygrad_llm.evaluation import paired_difference

first = [1.0] * 24 + [0.0] * 16
inside = [1.0] * 28 + [0.0] * 12
crossed = [1.0] * 16 + [0.0] * 8 + [1.0] * 12 + [0.0] * 4
for name, second in (("24 of the 28", inside), ("16 of the 28", crossed)):
    print(f"{name}: {paired_difference(second, first)}")
assert paired_difference(inside, first).low >= 0.0
assert paired_difference(crossed, first).low < 0.0

# %% [markdown]
# ## 3. A vote that ends when it is decided
# More than N/2 votes cannot be caught up with, so the winner is the same. A model that is mostly right is asked less
# often; one that is mostly wrong, each time differently, is asked nearly as often as before.

# %%
from collections import Counter


def early_vote(answers):
    """(the answer that wins, how many of the answers were read)"""
    votes = Counter()
    for read, answer in enumerate(answers, 1):
        votes[answer] += 1
        if votes[answer] > len(answers) / 2:
            return answer, read
    return votes.most_common(1)[0][0], len(answers)


assert early_vote("aabac") == ("a", 4) and early_vote("abcde") == ("a", 5)
torch.manual_seed(1)
mean_read = {}
for p_right in (0.8, 0.3):
    reads = []
    for _ in range(1000):
        drawn = torch.rand(9) < p_right
        answers = ["right" if good else f"wrong {i}" for i, good in enumerate(drawn.tolist())]  # all wrong ones differ
        winner, read = early_vote(answers)
        assert winner == Counter(answers).most_common(1)[0][0]
        reads.append(read)
    mean_read[p_right] = sum(reads) / len(reads)
print("answers read of 9:", mean_read)
assert 5.5 < mean_read[0.8] < 6.8 and mean_read[0.3] > 8.5
