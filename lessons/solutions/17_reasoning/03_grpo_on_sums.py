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
