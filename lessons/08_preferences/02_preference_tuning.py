# ---
# jupyter:
#   jupytext:
#     text_representation: {extension: .py, format_name: percent}
# ---

# %% [markdown]
# # 2. Preference tuning
#
# **Question.** Does DPO move a whole model in the desired direction, and how far may it go?
#
# **For example.** "Fine, thank you." is chosen, "Fine." rejected. After 100 such pairs the margin has grown,
# also for pairs that the model has not seen.
#
# **Answer.** The margin between chosen and rejected answers grows, also on pairs that the model never saw, if the
# two differ in something that can be learned. In our data the chosen answer is polite. We watch three numbers: the
# loss (from ln 2 down), the margin (from 0 up), and the share of pairs in which the chosen answer has the higher
# reward.
#
# **The base is tiny** and knows nothing. It can learn a tone, not better answers.
#
# **You need.** Lesson 1.

# %%
import copy
import json
import math

import matplotlib.pyplot as plt

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
    respond,
    response_log_probabilities,
    split_in_order,
    usable_pairs,
)
from tinygrad_llm.models import GPT
from tinygrad_llm.study.lesson import full_run, save_plot
from tinygrad_llm.text import BPETokenizer

full = full_run("all 1,094 usable pairs and a larger model, tuned on instructions first: about 10 minutes on two cores")
entries = json.loads(corpora.path("instruction-preferences").read_text(encoding="utf-8"))
pairs = usable_pairs(entries)
print(f"{len(entries):,} pairs, {len(entries) - len(pairs)} with two equal answers are left out; such as")
for name in ("instruction", "input", "chosen", "rejected"):
    print(f"  {name:12} {pairs[1][name]}")

style = PromptStyle(name="task", instruction="Task: ", input="\nText: ", response="\nAnswer: ")
longest = 400 if full else 130
pairs = [e for e in pairs if len(e["instruction"] + e["input"]) + max(len(e["chosen"]), len(e["rejected"])) < longest]
train, validation, test = split_in_order(pairs)
tokenizer = BPETokenizer.train([e["instruction"] + " " + e["input"] + " " + e["chosen"] + " " + e["rejected"] for e in train],
                               1024 if full else 512)
END = tokenizer.special_tokens["<|endoftext|>"]
config = dict(vocab_size=tokenizer.vocab_size, context_length=256 if full else 128, emb_dim=160 if full else 64, n_heads=4,
              n_layers=4 if full else 2, drop_rate=0.0)

# %% [markdown]
# ## A base that answers
# First some instruction tuning, with both answers of each pair as examples, so that it has no preference yet.

# %%
examples = [{**e, "output": e[side]} for e in train for side in ("chosen", "rejected")]
tl.manual_seed(123)
base = GPT(config)
tuning = instruction_trainer(base, InstructionDataset(examples, tokenizer, style), epochs=3 if full else 2, batch_size=16,
                             lr=1e-3 if full else 4e-3, pad_token_id=END, progress=False)
tuning.run(plan=False)
print(f"{base.n_parameters():,} parameters, {len(examples)} examples: loss {tuning.metrics.series('loss')[1][0]:.2f} -> "
      f"{tuning.last_loss:.2f}")

# %% [markdown]
# ## By hand
# One batch of four pairs. The reference is a copy that never learns.

# %%
train_set, val_set = (PreferenceDataset(part, tokenizer, style) for part in (train, validation))
batch = collate_preferences([train_set[i] for i in range(4)], pad_token_id=END)
print("chosen, of shape", tuple(batch["chosen"].shape), " tokens of the answers:", batch["chosen_mask"].sum(dim=1).tolist())
policy, reference = copy.deepcopy(base), copy.deepcopy(base).eval()


def loss_by_hand(policy, batch, beta=0.1):
    log_ratio = {}
    for side in ("chosen", "rejected"):
        policy_log_p = response_log_probabilities(policy, batch[side], batch[f"{side}_mask"])  # (B)
        with tl.no_grad():
            reference_log_p = response_log_probabilities(reference, batch[side], batch[f"{side}_mask"])  # (B)
        log_ratio[side] = policy_log_p - reference_log_p
    margins = beta * (log_ratio["chosen"] - log_ratio["rejected"])  # (B)
    return -tl.nn.functional.logsigmoid(margins).mean(), margins


first, _ = loss_by_hand(policy, batch)
print(f"first loss {first.item():.6f}, ln 2 = {math.log(2):.6f}")
assert abs(first.item() - math.log(2)) < 1e-5
optimizer = tl.optim.AdamW(policy.parameters(), lr=3e-4, weight_decay=0.0)
for _ in range(8):
    loss, margins = loss_by_hand(policy, batch)
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
print(f"the same four pairs, eight steps: loss {loss.item():.3f}, margins {[round(m, 2) for m in margins.tolist()]}")
assert loss.item() < first.item() and margins.mean().item() > 0

# %% [markdown]
# ## With the package

# %%
assert abs(DPOLoss(reference)(policy, batch).item() - loss_by_hand(policy, batch)[0].item()) < 1e-5
policy = copy.deepcopy(base)
val_batches = [collate_preferences([val_set[i] for i in range(j, min(j + 8, len(val_set)))], pad_token_id=END)
               for j in range(0, len(val_set), 8)]
trainer = preference_trainer(policy, reference, train_set, val_set, epochs=2, batch_size=8, lr=5e-4, beta=0.1,
                             pad_token_id=END, eval_every=20, progress=False)
trainer.run(plan=False)
steps, losses = trainer.metrics.series("loss")
val_steps, val_margins = trainer.metrics.series("val_margin")
before = preference_metrics(reference, reference, val_batches)
after = preference_metrics(policy, reference, val_batches)
for name in ("loss", "margin", "chosen_reward", "rejected_reward", "reward_accuracy"):
    print(f"  {name:16} before {before[name]:6.3f}   after {after[name]:6.3f}   (validation pairs)")
assert abs(losses[0] - math.log(2)) < 1e-4
assert after["margin"] > 0 and after["reward_accuracy"] > 0.6
assert all(tl.equal(p, q) for p, q in zip(reference.parameters(), base.parameters()))  # the reference has not changed

# %% [markdown]
# Look at the chosen answers' reward. If it fell too, the model made *both* answers less likely, the rejected one
# more so. That is usual, and the reason to stop early.

# %%
print()
for entry in test[:3]:
    print(f"  asked     {entry['instruction']} {entry['input']}"[:100])
    for name, model in (("reference", reference), ("tuned", policy)):
        print(f"  {name:9} {respond(model, tokenizer, entry, style, max_new_tokens=30, stop_token=END)[:80]!r}")

figure, (left, right) = plt.subplots(1, 2, figsize=(10, 4))
smooth = [sum(losses[max(0, i - 9) : i + 1]) / len(losses[max(0, i - 9) : i + 1]) for i in range(len(losses))]
left.plot(steps, losses, alpha=0.25, lw=0.8, c="C0"), left.plot(steps, smooth, c="C0", label="training")
left.axhline(math.log(2), ls=":", c="gray", label="ln 2"), left.set_xlabel("step"), left.set_ylabel("loss (nats per pair)"), left.legend()
for name in ("chosen_reward", "rejected_reward", "margin"):
    right.plot(*trainer.metrics.series(f"val_{name}"), "o-", ms=4, label=name.replace("_", " "))
right.axhline(0, lw=0.6, c="gray"), right.set_xlabel("step"), right.set_title("validation pairs"), right.legend()
save_plot(figure, "02_preference_tuning")

# %% [markdown]
# ## Exercises
# 1. Train with β = 0.02 and β = 0.5. How far do the log-probabilities move away from the reference's?
# 2. Swap chosen and rejected in all pairs. What are margin and accuracy on pairs that are not swapped?
# 3. Forget to freeze the reference: use the policy itself. What is the loss, and what is learned?
#
# Solutions: `lessons/solutions/08_preferences/02_preference_tuning.py`
