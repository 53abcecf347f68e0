# ---
# jupyter:
#   jupytext:
#     text_representation: {extension: .py, format_name: percent}
# ---

# %% [markdown]
# # Solutions: preference tuning

# %%
import copy
import json
import math

import tinygrad_llm as tl
from tinygrad_llm.data import corpora
from tinygrad_llm.finetune import (
    DPOLoss,
    InstructionDataset,
    PreferenceDataset,
    PromptStyle,
    collate_preferences,
    instruction_trainer,
    preference_metrics,
    preference_trainer,
    split_in_order,
    usable_pairs,
)
from tinygrad_llm.models import GPT
from tinygrad_llm.text import BPETokenizer

entries = usable_pairs(json.loads(corpora.path("instruction-preferences").read_text(encoding="utf-8")))
pairs = [e for e in entries if len(e["instruction"] + e["input"] + e["chosen"] + e["rejected"]) < 170]
train, _, validation = split_in_order(pairs)
tokenizer = BPETokenizer.train([e["instruction"] + " " + e["chosen"] + " " + e["rejected"] for e in train], 400)
END = tokenizer.special_tokens["<|endoftext|>"]
style = PromptStyle(name="task", instruction="Task: ", input="\nText: ", response="\nAnswer: ")
tl.manual_seed(123)
base = GPT(dict(vocab_size=400, context_length=128, emb_dim=48, n_heads=4, n_layers=1, drop_rate=0.0))
examples = [{**e, "output": e[side]} for e in train for side in ("chosen", "rejected")]
instruction_trainer(base, InstructionDataset(examples, tokenizer, style), epochs=1, batch_size=16, lr=4e-3,
                    pad_token_id=END, progress=False).run(plan=False)
val_set = PreferenceDataset(validation, tokenizer, style)
batches = [collate_preferences([val_set[i] for i in range(len(val_set))], pad_token_id=END)]


def tune(rows, beta=0.1):
    model = copy.deepcopy(base)
    preference_trainer(model, base, PreferenceDataset(rows, tokenizer, style), epochs=1, batch_size=8, lr=1e-3, beta=beta,
                       pad_token_id=END, progress=False).run(plan=False)
    return preference_metrics(model, base, batches, beta=beta)


# %% [markdown]
# ## 1. What β does
# The reward is β·(log π − log π_ref), so the distance in nats is margin/β. A small β lets the model go far.

# %%
distance = {}
for beta in (0.02, 0.5):
    metrics = tune(train, beta)
    distance[beta] = metrics["margin"] / beta
    print(f"β = {beta}: margin {metrics['margin']:.2f}, that is {distance[beta]:.1f} nats; accuracy {metrics['reward_accuracy']:.0%}")
assert distance[0.02] > distance[0.5] > 0

# %% [markdown]
# ## 2. Swapped

# %%
swapped = [{**e, "chosen": e["rejected"], "rejected": e["chosen"]} for e in train]
wrong = tune(swapped)
print(f"swapped: margin {wrong['margin']:.2f}, accuracy {wrong['reward_accuracy']:.0%}")
assert wrong["margin"] < 0 and wrong["reward_accuracy"] < 0.5

# %% [markdown]
# It has learned the opposite just as well: DPO knows nothing but the labels.
#
# ## 3. The policy as its own reference
# Then the margin is always 0 and the loss always ln 2. But its *gradient* is not 0 (the reference is outside the
# graph), so the weights move, nothing holds them near the reference, and the loss curve does not show it. The
# trainer refuses this.

# %%
loss = DPOLoss(base)(base, batches[0])
loss.backward()
largest = max(p.grad.abs().max().item() for p in base.parameters() if p.grad is not None)
print(f"loss {loss.item():.4f}; the largest gradient is above 0: {largest > 0}")
assert abs(loss.item() - math.log(2)) < 1e-5 and largest > 0
try:
    preference_trainer(base, base, val_set, pad_token_id=END)
except ValueError as error:
    print("refused:", str(error)[:70])
else:
    raise AssertionError("one model for both must be refused")
