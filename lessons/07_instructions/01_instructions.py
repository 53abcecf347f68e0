# ---
# jupyter:
#   jupytext:
#     text_representation: {extension: .py, format_name: percent}
# ---

# %% [markdown]
# # 1. Instructions become batches
#
# **Question.** A language model continues texts. How do we show it that a question needs an answer, and that an
# answer has an end?
#
# **For example.** "Instruction: Name a colour. Response: Blue.<end>" is one text. Its last token teaches the
# model to stop.
#
# **Answer.** As texts, always in the same form: fixed words around the instruction, fixed words before the
# response, and an end-of-text token after it. Then it is pretraining again, except for two details of the batch:
# the padding of short texts must not count in the loss, and the *first* end-of-text must.
#
# **You need.** Chapter 05.

# %%
import json

import matplotlib.pyplot as plt

import tinygrad_llm as torch
import tinygrad_llm.nn.functional as F
from tinygrad_llm.data import corpora
from tinygrad_llm.study.lesson import save_plot
from tinygrad_llm.text import BPETokenizer

entries = json.loads(corpora.path("instruction-data").read_text(encoding="utf-8"))
with_input = sum(bool(entry["input"]) for entry in entries)
print(f"{len(entries):,} entries, {with_input} of them with an input; such as")
print(json.dumps(entries[50], indent=1))

# %% [markdown]
# ## By hand: one text out of an entry

# %%
def prompt(entry):
    """The fixed words of our own form, and the instruction in them."""
    extra = f"\nText: {entry['input']}" if entry["input"] else ""
    return f"Task: {entry['instruction']}{extra}"


def whole(entry):
    return f"{prompt(entry)}\nAnswer: {entry['output']}"


print(whole(entries[50]))
tokenizer = BPETokenizer.train([whole(entry) for entry in entries[:935]], 512)
END = tokenizer.special_tokens["<|endoftext|>"]

# %% [markdown]
# ## By hand: a batch
# Three texts of different lengths. Inputs are padded with the end-of-text token. Targets are the inputs shifted
# by one; the first end-of-text is a target (the model must learn to stop), all further ones become −100, which
# `cross_entropy` leaves out.

# %%
def collate(rows):
    T = max(len(row) for row in rows)
    inputs = torch.full((len(rows), T), END)  # (B, T)
    targets = torch.full((len(rows), T), -100)  # (B, T)
    for i, row in enumerate(rows):
        n = len(row)
        inputs[i, :n] = torch.tensor(row)
        targets[i, : n - 1] = torch.tensor(row[1:])
        targets[i, n - 1] = END
    return inputs, targets


small = [[11, 12, 13, 14, 15], [21, 22, 23], [31, 32]]
inputs, targets = collate(small)
print("inputs", tuple(inputs.shape), inputs.tolist(), "\ntargets", tuple(targets.shape), targets.tolist())
assert targets.tolist() == [[12, 13, 14, 15, END], [22, 23, END, -100, -100], [32, END, -100, -100, -100]]

# %% [markdown]
# Does −100 really not count? The same loss, with padding and without:

# %%
torch.manual_seed(123)
logits = torch.randn(3, 5, 512, requires_grad=True)  # (B, T, V)
padded = F.cross_entropy(logits.flatten(0, 1), targets.flatten())
parts = [F.cross_entropy(logits[i, : len(row)], targets[i, : len(row)], reduction="sum") for i, row in enumerate(small)]
print(f"with padding {padded.item():.5f}, row by row without it {(sum(parts) / 10).item():.5f}")
assert torch.allclose(padded, sum(parts) / 10, atol=1e-5)  # 5 + 3 + 2 targets
padded.backward()
assert logits.grad[2, 2:].abs().sum().item() == 0.0  # no gradient from the padding

# %% [markdown]
# Should the model also learn to write the *questions*? They may be left out of the loss ("instruction masking"):
# all targets up to the response become −100.

# %%
lengths = [(len(tokenizer.encode(prompt(entry))), len(tokenizer.encode(whole(entry)))) for entry in entries]
share = sum(b - a for a, b in lengths) / sum(b for _, b in lengths)
print(f"of all tokens {share:.0%} are responses")


def mask_prompts(targets, prompt_lengths):
    masked = targets.clone()
    for row, n in zip(masked, prompt_lengths):
        row[: n - 1] = -100  # token t is target t − 1
    return masked


print("masked:", mask_prompts(targets, [3, 2, 1]).tolist())
assert mask_prompts(targets, [3, 2, 1])[0].tolist() == [-100, -100, 14, 15, END]

# %% [markdown]
# ## With the package
# The form is a `PromptStyle`; "alpaca" and "phi3" are there. The data set remembers where each response begins.

# %% tags=["package"]
from tinygrad_llm.finetune import STYLES, InstructionDataset, PromptStyle, collate_instructions, split_in_order

style = PromptStyle(name="task", instruction="Task: ", input="\nText: ", response="\nAnswer: ")
assert all(style.prompt(entry) + style.answer(entry["output"]) == whole(entry) for entry in entries)
data = InstructionDataset(entries, tokenizer, style)
batch = [data[i] for i in (50, 3, 7)]
packaged = collate_instructions(batch, pad_token_id=END)
by_hand = collate([ids for ids, _ in batch])
assert all(torch.equal(a, b) for a, b in zip(packaged, by_hand))
masked = collate_instructions(batch, pad_token_id=END, mask_instruction=True)[1]
assert torch.equal(masked, mask_prompts(by_hand[1], [n for _, n in batch]))
train, validation, test = split_in_order(entries)
print("package: batch", tuple(packaged[0].shape), " split", len(train), len(validation), len(test))
for name, other in STYLES.items():
    n = sum(len(tokenizer.encode(other.prompt(e) + other.answer(e["output"]))) for e in entries) / len(entries)
    print(f"  {name:7} {n:.0f} tokens per entry")

# %%
figure, (left, right) = plt.subplots(1, 2, figsize=(10, 3.8))
left.hist([b for _, b in lengths], 40, label="whole text"), left.hist([b - a for a, b in lengths], 40, alpha=0.7, label="response")
left.set_xlabel("tokens"), left.set_ylabel("entries"), left.legend()
picture = torch.stack([(inputs == END).float() + 2 * (targets == -100).float()])[0]  # (B, T)
right.imshow(picture.numpy(), cmap="Greys", vmin=0, vmax=9)
for i in range(3):
    for j in range(5):
        t = targets[i, j].item()
        right.text(j, i, "end" if t == END else str(t), ha="center", va="center")
right.set_title("targets of the small batch; −100 does not count"), right.set_xticks([]), right.set_yticks([])
save_plot(figure, "01_instructions")

# %% [markdown]
# ## Break it
# Count all padding as targets. Then a model that has only learned to repeat end-of-text looks good:

# %%
all_counted = torch.where(targets == -100, torch.tensor(END), targets)
only_end = torch.zeros(3, 5, 512)
only_end[:, :, END] = 10.0
with_all = F.cross_entropy(only_end.flatten(0, 1), all_counted.flatten()).item()
without_padding = F.cross_entropy(only_end.flatten(0, 1), targets.flatten()).item()
print(f"a model that writes only end-of-text: loss {with_all:.2f} with padding counted, {without_padding:.2f} without")
assert with_all < without_padding - 1

# %% [markdown]
# ## Exercises
# 1. What share of a batch of 8 is padding if the entries come in random order? And if they are sorted by length
#    first?
# 2. What goes wrong if *no* end-of-text is a target? And what if its id is used for padding, and all of it is −100?
# 3. Write the entry in Phi-3's form by hand, and compare it with `STYLES["phi3"]`.
#
# Solutions: `lessons/solutions/07_instructions/01_instructions.py`
