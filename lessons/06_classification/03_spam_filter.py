# ---
# jupyter:
#   jupytext:
#     text_representation: {extension: .py, format_name: percent}
# ---

# %% [markdown]
# # 3. A spam filter
#
# **Question.** Can a small GPT tell spam from ham, and what does pretraining (on text without labels) add?
#
# **For example.** Of 10 alarms 9 are right: precision 0.9. Of 12 spam messages 9 were found: recall 0.75.
# Accuracy alone would hide the 3.
#
# **Answer.** Yes. On this task, where single words reveal spam, even a GPT that starts from random weights can.
# The loop is that of pretraining. Only the targets are different: one label per message instead of one token per
# position.
#
# **You need.** Lesson 2, chapter 05.

# %%
import copy

import matplotlib.pyplot as plt

import tinygrad_llm as tl
import tinygrad_llm.nn.functional as F
from tinygrad_llm.finetune import (
    GPTClassifier,
    TextClassificationDataset,
    classification_trainer,
    classify,
    count_parameters,
    evaluate_classifier,
    sms_spam_splits,
    train_only,
)
from tinygrad_llm.models import GPT
from tinygrad_llm.layers import lora
from tinygrad_llm.study.lesson import full_run, save_plot
from tinygrad_llm.text import BPETokenizer
from tinygrad_llm.training import TokenBatches, Trainer
from tinygrad_llm.utils.data import DataLoader

full = full_run("a larger model from random weights, and LoRA on a base that is pretrained here: "
                "about 5 minutes on two cores")
emb_dim, n_layers, epochs, T = (128, 4, 8, 120) if full else (48, 2, 3, 64)

train, validation, test = sms_spam_splits()
tokenizer = BPETokenizer.train([message for message, _ in train], 1024 if full else 512)
PAD = tokenizer.special_tokens["<|endoftext|>"]
train_set, validation_set, test_set = (
    TextClassificationDataset(rows, tokenizer, max_length=T, pad_token_id=PAD) for rows in (train, validation, test)
)
print("training messages, of shape", train_set.ids.shape, " test", test_set.ids.shape)
config = dict(vocab_size=tokenizer.vocab_size, context_length=T, emb_dim=emb_dim, n_heads=4, n_layers=n_layers,
              drop_rate=0.1)

# %% [markdown]
# ## By hand: the loop

# %%
def accuracy_by_hand(model, data):
    model.eval()
    right = 0
    with tl.no_grad():
        for ids, labels in DataLoader(data, batch_size=32):
            right += (model(ids).argmax(dim=-1) == labels).sum().item()  # (B, K) -> (B)
    model.train()
    return right / len(data)


tl.manual_seed(123)
model = GPTClassifier.from_gpt(GPT(config), n_classes=2, pad_token_id=PAD)
print(f"{count_parameters(model)['total']:,} parameters; accuracy on the test before training {accuracy_by_hand(model, test_set):.1%}")
optimizer = tl.optim.AdamW(model.parameters(), lr=2e-3, weight_decay=0.1)
losses, curve = [], []
for epoch in range(epochs):
    for ids, labels in DataLoader(train_set, batch_size=16, shuffle=True):  # (B, T), (B)
        loss = F.cross_entropy(model(ids), labels)  # (B, K), (B) -> ()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    curve.append((accuracy_by_hand(model, train_set), accuracy_by_hand(model, validation_set)))
    print(f"epoch {epoch + 1}: loss {sum(losses[-20:]) / 20:.3f}, accuracy: training {curve[-1][0]:.1%}, "
          f"validation {curve[-1][1]:.1%}", flush=True)
by_hand = accuracy_by_hand(model, test_set)
print(f"test: {by_hand:.1%}")
assert by_hand > 0.85

# %% [markdown]
# ## With the package
# `classification_trainer` is this loop with warm-up, cosine and checkpoints. `evaluate_classifier` says where the
# mistakes are: precision is the share of real spam among the messages called spam, recall the share of the spam
# that was found.

# %%
tl.manual_seed(123)
model = GPTClassifier.from_gpt(GPT(config), n_classes=2, pad_token_id=PAD)
trainer = classification_trainer(model, train_set, validation_set, epochs=epochs, batch_size=16, lr=2e-3,
                                 progress=False)
trainer.run(plan=False)
report = evaluate_classifier(model, test_set, names=["ham", "spam"])
print(report)
print("\nthe worst mistakes:\n" + report.worst_table([message for message, _ in test], n=3))
assert report.accuracy >= (0.93 if full else 0.85)
for message in ("You won a FREE prize! Call 09061701461 now to claim", "Are you still coming for dinner tonight?"):
    predicted, p = classify(model, tokenizer, message, max_length=T, names=["ham", "spam"])
    print(f"  {predicted:5}({p:.0%})  {message}")

# %% [markdown]
# ## Which weights must learn?
# Now with a base that has read the messages before, without labels: a GPT that learned to continue them.

# %%
tl.manual_seed(123)
base = GPT(config)
ids = [t for message, _ in train for t in [*tokenizer.encode(message), PAD]]
steps = 600 if full else 120
pretraining = Trainer(base, tl.optim.AdamW(base.parameters(), lr=2e-3), TokenBatches(ids, 16, min(T, 64)), steps=steps,
                      progress=False)
pretraining.run(plan=False)
print(f"base: loss {pretraining.metrics.series('loss')[1][0]:.2f} -> {pretraining.last_loss:.2f} in {steps} steps")


def tuned(name):
    """(trained parameters, accuracy on the test) of one way to tune."""
    tl.manual_seed(123)
    model = GPTClassifier.from_gpt(copy.deepcopy(base), n_classes=2, pad_token_id=PAD)
    if name == "head":
        train_only(model, ["out_head"])
    elif name == "last block":
        train_only(model, ["out_head", "final_norm", f"trf_blocks.{n_layers - 1}"])
    elif name == "LoRA":
        lora.add(model, rank=8, alpha=16, names=["trf_blocks.*"])
        model.out_head.requires_grad_(True)
    n_trained = count_parameters(model)["trainable"]
    classification_trainer(model, train_set, epochs=epochs, batch_size=16, lr=5e-3 if name == "LoRA" else 2e-3,
                           progress=False).run(plan=False)
    return n_trained, evaluate_classifier(model, test_set).accuracy


results = {name: tuned(name) for name in ("head", "last block", "LoRA", "all")}
for name, (n_trained, accuracy) in results.items():
    print(f"{name:11} {n_trained:9,} parameters trained, test {accuracy:.1%}", flush=True)
assert results["head"][0] < results["LoRA"][0] < results["all"][0]
assert results["LoRA"][1] >= (0.93 if full else 0.8)

figure, (left, right) = plt.subplots(1, 2, figsize=(10, 4))
left.plot(losses, lw=0.8, alpha=0.6)
left.set_xlabel("step"), left.set_ylabel("loss of a batch (nats per message)")
above = left.secondary_xaxis("top", functions=(lambda s: 16 * s, lambda n: n / 16))
above.set_xlabel("messages seen")
names = ["random, all", *(f"base, {name}" for name in results)]
values = [report.accuracy, *(accuracy for _, accuracy in results.values())]
right.barh(names, values)
for i, value in enumerate(values):
    right.text(value - 0.005, i, f"{value:.1%}", ha="right", va="center", color="white")
right.invert_yaxis(), right.set_xlim(0.5, 1), right.set_xlabel("accuracy on the test (0.5 is chance)")
save_plot(figure, "03_spam_filter")

# %% [markdown]
# ## Exercises
# 1. The filter outputs a probability. Above which value should a message go to the spam folder, if losing one ham
#    message is as bad as reading twenty spam messages?
# 2. How much of the message is needed? Cut all messages at 8, 16, 32 tokens.
# 3. How many labels are needed? Train on 50, 200 and 1,045 messages.
#
# Solutions: `lessons/solutions/06_classification/03_spam_filter.py`
