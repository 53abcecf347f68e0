# ---
# jupyter:
#   jupytext:
#     text_representation: {extension: .py, format_name: percent}
# ---

# %% [markdown]
# # Solutions: headlines
#
# ## 1. No banana
# Each word is another one with probability 1 − q, all eight with (1 − q)⁸.

# %%
p = [0.45, 0.30, 0.15, 0.08, 0.02]
sharp = [v**2 / sum(w**2 for w in p) for v in p]  # temperature 0.5: squares
plain, cool = (1 - p[-1]) ** 8, (1 - sharp[-1]) ** 8
print(f"without a temperature {plain:.3f}, with 0.5 {cool:.3f}")
assert abs(plain - 0.851) < 1e-3 and cool > 0.99

# %% [markdown]
# ## 2. Length penalty
# α = 0 compares −3.0 with −4.2: the short text wins. α = 1 compares the means −1.0 and −0.7: the long one wins.

# %%
winners = {}
for alpha in (0.0, 1.0):
    short, long = -3.0 / 3**alpha, -4.2 / 6**alpha
    winners[alpha] = "short" if short > long else "long"
    print(f"alpha {alpha:.0f}: {short:.2f} and {long:.2f}, the {winners[alpha]} one wins")
assert winners == {0.0: "short", 1.0: "long"}

# %% [markdown]
# ## 3. The second sentence
# Half of the reports begin with the weather, and then the news comes second; in the other half it comes first. So
# neither baseline is good, and the interval of their difference nearly reaches 0. The model reads where the news is.

# %%
import re

from tinygrad_llm.evaluation import paired_difference, rouge
from tinygrad_llm.finetune.summaries import reports

rows = reports(1300)[1200:]
headlines = [headline for _, headline in rows]
scores = []
for which in (0, 1):
    sentences = [re.split(r"(?<=\.) ", text)[which] for text, _ in rows]
    scores.append(rouge([" ".join(s.split()[:6]) for s in sentences], headlines)["rougeL"])
    print(f"sentence {which + 1}: {scores[-1]}")
difference = paired_difference(scores[0].f1, scores[1].f1)
print(f"first - second {difference.value:+.3f} [{difference.low:+.3f}, {difference.high:+.3f}]")
assert abs(difference.value) < 0.2 and max(score.f1.mean() for score in scores) < 0.5
