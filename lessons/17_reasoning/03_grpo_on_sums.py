# ---
# jupyter:
#   jupytext:
#     text_representation: {extension: .py, format_name: percent}
# ---

# %% [markdown]
# # 3. GRPO on sums: watch a model learn from right and wrong
#
# **Question.** A small model knows the form of an answer ("3+4=" is followed by a number and an end), but hardly any sum.
# Nobody shows it right answers any more: it draws eight answers to each question, and a program says which are right.
# Does it learn to add?
#
# **For example.** Eight answers to "3+4=": two are 7, six are wrong. The two get a positive advantage, the
# six a negative one.
#
# **Predict first.** What must be true of the eight answers to one question, so that they teach anything at all?
#
# **You need.** Lesson 2.

# %%
import matplotlib.pyplot as plt

import tinygrad_llm as torch
from tinygrad_llm.study.lesson import full_run, save_plot

# %% [markdown]
# ## By hand: GRPO for a table
# Before a Transformer, a table of logits: one row for each of 20 questions, 17 possible answers. Eight draws, advantages,
# one step: the whole method in ten lines.

# %%
torch.manual_seed(0)
right = torch.randint(0, 17, (20,))
table = torch.zeros(20, 17, requires_grad=True)  # shape (20, 17)
optimizer = torch.optim.SGD([table], lr=4.0)
scores, without = [], []
for step in range(60):
    p = torch.softmax(table, dim=1)
    drawn = torch.multinomial(p.detach(), 8, replacement=True)  # shape (20, 8)
    r = (drawn == right.unsqueeze(1)).float()
    A = (r - r.mean(1, keepdim=True)) / (r.std(1, keepdim=True) + 1e-4)
    loss = -(A * torch.log(p.gather(1, drawn))).mean()
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
    scores.append(p[torch.arange(20), right].mean().item())
    without.append((r.std(1) == 0).float().mean().item())
print(f"probability of the right answers: {scores[0]:.2f} -> {scores[-1]:.2f}")
print(f"groups in which all answers have one reward: {without[0]:.2f} first, {without[-1]:.2f} at the end")
assert scores[0] < 0.1 and scores[-1] > 0.6

# %% [markdown]
# A group of equal rewards has the advantages 0: at first because all are wrong, at the end because all are right. Only
# groups with a difference teach.
#
# ## With the package: a Transformer
# `tinygrad-llm finetune grpo` does this for all 81 sums of two digits from 1 to 9, in some minutes. Here it takes
# seconds and gets part of the way. The start: right answers to a half of the sums, until the model knows what a sum looks
# like and is right now and then. Without that, nothing it draws is ever rewarded.

# %% tags=["package"]
from tinygrad_llm.finetune import InstructionDataset, instruction_trainer, show_labels
from tinygrad_llm.finetune.reasoning import grpo_trainer, make_questions, right_answers
from tinygrad_llm.models import GPT, GPTConfig
from tinygrad_llm.text import CharTokenizer

questions = make_questions("sums", 81)
steps = 600 if full_run("600 steps, some minutes") else 60
tokenizer = CharTokenizer.train("0123456789+=", ("<|endoftext|>",))
end = tokenizer.eot_token
torch.manual_seed(1)
model = GPT(GPTConfig(tokenizer.vocab_size, 12, emb_dim=64, n_heads=4, n_layers=2, drop_rate=0.0))
half = InstructionDataset(questions[::2], tokenizer, "plain")
instruction_trainer(
    model, half, steps=60, lr=2e-3, batch_size=32, mask_instruction=True, pad_token_id=end, progress=False
).run(plan=False)
before = right_answers(model, tokenizer, questions, "plain", end=end, answer_tokens=3)[0].mean()

# %% [markdown]
# Which tokens carry the loss: the answer and the end, never the question. Brackets in place of colours.

# %% tags=["package"]
trainer = grpo_trainer(
    model, tokenizer, questions, questions, style="plain", end=end, steps=steps, lr=1.5e-3, batch_size=40,
    temperature=1.3, answer_tokens=3, eval_every=max(10, steps // 20), progress=False,
)
batch = trainer.stream.batches.drawn(0)
print(show_labels({"ids": batch["ids"][:4], "mask": batch["mask"][:4]}, tokenizer, colour=False))
trainer.run(plan=False)
after = right_answers(model, tokenizer, questions, "plain", end=end, answer_tokens=3)[0].mean()
print(f"81 sums, right before {before:.2f}, after {after:.2f}")
assert after > before + 0.1

# %% tags=["package"]
lines = [line for line in trainer.metrics.lines if "val_accuracy" in line]
figure, axes = plt.subplots(2, 1, sharex=True, figsize=(7, 5))
axes[0].plot([x["step"] for x in lines], [x["val_accuracy"] for x in lines], "o-", label="right answers, greedy")
axes[0].plot([x["step"] for x in lines], [x["same"] for x in lines], ".--", label="groups without a difference")
axes[1].plot([x["step"] for x in lines], [x["entropy"] for x in lines], "o-", color="tab:red", label="entropy")
axes[1].set_xlabel("steps")
for a in axes:
    a.legend()
    a.grid(alpha=0.3)
save_plot(plt.gcf(), "03_grpo_on_sums")
assert lines[-1]["entropy"] < lines[0]["entropy"]  # it becomes sure

# %% [markdown]
# ## Exercises
#
# 1. A question has the success rate p. What is the probability that a group of G answers has a difference? For p = 1/17,
#    which G makes it more than one half?
# 2. Let the doctor see a run that cannot learn: rollouts in which no answer is ever finished. What does it say?
# 3. Give a tenth of a point for the form (`rewards_of(texts, finished, expected, boxed=True)`). No answer of a group is
#    right, one has a box: what does it learn? And if the form counts only where the answer is right?
#
# Solutions: `lessons/solutions/17_reasoning/03_grpo_on_sums.py`
