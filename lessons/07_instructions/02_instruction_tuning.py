# ---
# jupyter:
#   jupytext:
#     text_representation: {extension: .py, format_name: percent}
# ---

# %% [markdown]
# # 2. Instruction tuning
#
# **Question.** What changes when a model that continues texts is trained on a thousand questions and answers?
#
# **For example.** Before: "Name a colour." is continued by another instruction. After: by a colour, and the
# end.
#
# **Answer.** First its behaviour: it answers in the expected form, and it stops. Its knowledge must come from
# pretraining. **Our base is tiny.** It has read a small part of Shakespeare for some seconds, so it knows nothing:
# what you will see is form without knowledge. (A GPT-2 of 355 million parameters, after the same tuning, answers
# many of the questions.)
#
# **You need.** Lesson 1.

# %%
import copy
import json

import matplotlib.pyplot as plt

import tinygrad_llm as tl
import tinygrad_llm.nn.functional as F
from tinygrad_llm.data import corpora
from tinygrad_llm.finetune import (
    InstructionDataset,
    PromptStyle,
    collate_instructions,
    extract_response,
    instruction_trainer,
    respond,
    respond_to_all,
    split_in_order,
    word_overlap,
)
from tinygrad_llm.generation import generate
from tinygrad_llm.models import GPT
from tinygrad_llm.study.lesson import full_run, save_plot
from tinygrad_llm.text import BPETokenizer
from tinygrad_llm.training import TokenBatches, Trainer

full = full_run("all 935 examples, the Alpaca form and a larger model: about 10 minutes on two cores")
entries = json.loads(corpora.path("instruction-data").read_text(encoding="utf-8"))
train, validation, test = split_in_order(entries)
style = "alpaca" if full else PromptStyle(name="task", instruction="Task: ", input="\nText: ", response="\nAnswer: ")
plays = corpora.load("tinyshakespeare").text[: 1_000_000 if full else 150_000]
tokenizer = BPETokenizer.train([plays, *(e["instruction"] + " " + e["output"] for e in train)], 2048 if full else 512)
END = tokenizer.special_tokens["<|endoftext|>"]
config = dict(vocab_size=tokenizer.vocab_size, context_length=256 if full else 128, emb_dim=192 if full else 64,
              n_heads=4, n_layers=4 if full else 2, drop_rate=0.0)
if not full:
    train = [e for e in train if len(e["instruction"] + e["input"] + e["output"]) < 150]
    test = [e for e in test if len(e["instruction"] + e["input"] + e["output"]) < 150][:20]
print(f"{len(train)} examples for training, {len(validation)} for validation, {len(test)} for the test")

# %% [markdown]
# ## A base

# %%
tl.manual_seed(123)
base = GPT(config)
steps = 800 if full else 150
pretraining = Trainer(base, tl.optim.AdamW(base.parameters(), lr=1e-3 if full else 3e-3),
                      TokenBatches(tokenizer.encode(plays), 16, 64), steps=steps, progress=False)
pretraining.run(plan=False)
print(f"{base.n_parameters():,} parameters; loss on the plays {pretraining.last_loss:.2f} after {steps} steps")

# %% [markdown]
# ## By hand
# The loss is that of pretraining, the batches are those of lesson 1.

# %%
train_set, val_set = (InstructionDataset(part, tokenizer, style) for part in (train, validation))


def batch_of(data, rows):
    return collate_instructions([data[i] for i in rows], pad_token_id=END, max_length=config["context_length"])


model = copy.deepcopy(base)
optimizer = tl.optim.AdamW(model.parameters(), lr=1e-3, weight_decay=0.1)
inputs, targets = batch_of(train_set, range(8))
print("inputs, of shape", tuple(inputs.shape), " targets that count:", (targets != -100).sum().item())
by_hand = []
for _ in range(12):
    logits = model(inputs)  # (B, T) -> (B, T, V)
    loss = F.cross_entropy(logits.flatten(0, 1), targets.flatten())
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
    by_hand.append(loss.item())
print(f"the same eight examples again and again: loss {by_hand[0]:.2f} -> {by_hand[-1]:.2f}")
assert by_hand[-1] < by_hand[0]

# %% [markdown]
# ## By hand: the answer alone
# The model's text contains prompt and answer. We cut off the prompt, and everything after the next "Task:".

# %%
def answer_by_hand(model, entry, n=40):
    prompt = f"Task: {entry['instruction']}" + (f"\nText: {entry['input']}" if entry["input"] else "") + "\nAnswer: "
    ids = tokenizer.encode(prompt)
    out = generate(model, ids, n, stop_tokens=END).tolist()
    text = tokenizer.decode(out[len(ids) :])
    return text.split("\nTask:")[0].split("\nAnswer:")[0].strip()


if not full:
    example = test[0]
    base_answer = answer_by_hand(base, example)
    assert extract_response("Task: Add.\nAnswer: Four.\nTask: x", "Task: Add.", style) == "Four."
    print("the base continues to write plays:", repr(base_answer[:70]))

# %% [markdown]
# ## With the package

# %%
model = copy.deepcopy(base)
trainer = instruction_trainer(model, train_set, val_set, epochs=3 if full else 2, batch_size=8, lr=1e-3 if full else 3e-3,
                              pad_token_id=END, eval_every=60, progress=False)
trainer.run(plan=False)
steps, losses = trainer.metrics.series("loss")
val_steps, val_losses = trainer.metrics.series("val_loss")
print(f"validation loss: {val_losses[0]:.2f} -> {val_losses[-1]:.2f} in {steps[-1]} steps")
assert val_losses[-1] < val_losses[0] - 0.5

options = dict(max_new_tokens=40, stop_token=END)
before = respond_to_all(base, tokenizer, test, style, **options)
after = respond_to_all(model, tokenizer, test, style, **options)
for entry, old, new in list(zip(test, before, after))[:4]:
    print(f"\n  asked    {entry['instruction']} {entry['input']}"[:111])
    print(f"  expected {entry['output'][:95]}")
    print(f"  base     {old['model_response'][:80]!r}")
    print(f"  tuned    {new['model_response'][:80]!r}")

# %% [markdown]
# How good is an answer? Often a large model is asked to judge. A rough measure that needs no model: how many words
# it shares with the expected answer (F1, from 0 to 1).

# %%
def score(answers):
    return sum(word_overlap(a["model_response"], a["output"]) for a in answers) / len(answers)


print(f"\nshared words: base {score(before):.2f}, tuned {score(after):.2f}")
assert score(after) > score(before)
stopped = [len(tokenizer.encode(a["model_response"])) < 38 for a in after]
print(f"the tuned model stopped by itself in {sum(stopped)} of {len(stopped)} answers")
assert respond(model, tokenizer, test[0], style, **options) == after[0]["model_response"]  # greedy: nothing is random

figure, axis = plt.subplots(figsize=(7, 4.2))
smooth = [sum(losses[max(0, i - 9) : i + 1]) / len(losses[max(0, i - 9) : i + 1]) for i in range(len(losses))]
axis.plot(steps, losses, c="C0", alpha=0.25, lw=0.8), axis.plot(steps, smooth, c="C0", label="training")
axis.plot(val_steps, val_losses, "o-", c="C1", label="validation")
axis.set_xlabel("step"), axis.set_ylabel("loss (nats per token)"), axis.legend()
save_plot(figure, "02_instruction_tuning")

# %% [markdown]
# ## Exercises
# 1. Train with `mask_instruction=True`. The two training losses cannot be compared: why? Compare the loss on the
#    *responses* of the validation entries.
# 2. What has the tuned model forgotten? Measure its loss on the plays before and after.
# 3. `word_overlap` gives some wrong answers a high score. Find such a pair, and a right answer with a low one.
#
# Solutions: `lessons/solutions/07_instructions/02_instruction_tuning.py`
