# ---
# jupyter:
#   jupytext:
#     text_representation: {extension: .py, format_name: percent}
# ---

# %% [markdown]
# # Solutions: GRPO on sums
#
# ## 1. When a group teaches
# It does not if all are right (p^G) or all are wrong ((1 − p)^G).

# %%
import tinygrad_llm as torch


def teaches(p, G):
    return 1 - p**G - (1 - p) ** G


shares = torch.tensor([teaches(1 / 17, G) for G in range(2, 33)])
G = 2 + int((shares > 0.5).int().argmax().item())
print(f"p = 1/17: a group of 8 teaches with probability {teaches(1 / 17, 8):.2f}; more than a half from G = {G}")
assert teaches(1 / 17, G) > 0.5 >= teaches(1 / 17, G - 1)

# %% [markdown]
# ## 2. The doctor
# It waits for `patience` rollouts, because one bad rollout is chance.

# %% tags=["package"]
from tinygrad_llm.finetune.reasoning import Doctor, RolloutStatistics, SickRun

doctor = Doctor(patience=3, template=False)
cut = RolloutStatistics(0.0, 0.0, 0.0, finished=0.0, same=1.0, length=64.0, entropy=2.0, rewarded_ends=0)
reason = ""
for _ in range(3):
    try:
        doctor.look(cut)
    except SickRun as error:
        reason = str(error)
print(reason)
assert "no answer of 3 rollouts was finished" in reason and "template" in reason

# %% [markdown]
# ## 3. A reward for the form
# The only difference within the group is the box, so the model learns to write boxes: useful if it never does, and all that
# it learns while nothing is right. If the form counts only with a right answer, this group teaches nothing, and among right
# answers the boxed one is still preferred.

# %% tags=["package"]
from tinygrad_llm.finetune.reasoning import rewards_of


def advantages_of(texts, only_if_right):
    right, form = rewards_of(texts, [True] * len(texts), ["7"] * len(texts), boxed=True).T  # (N,) each
    rewards = right + 0.1 * form * (right if only_if_right else 1.0)  # (N,)
    return rewards - rewards.mean()


no_one_is_right = [r"\boxed{8}", "8", "9", "10"]
always, only_right = advantages_of(no_one_is_right, False), advantages_of(no_one_is_right, True)
print("no answer is right:", always.round(3), only_right.round(3))
assert always[0] > 0 > always[1] == always[2] and not only_right.any()
one_is_right = advantages_of([r"\boxed{7}", r"\boxed{8}", "9", "10"], True)
print("one answer is right:", one_is_right.round(3))
assert one_is_right[0] > 0 > one_is_right[1] == one_is_right[2]
