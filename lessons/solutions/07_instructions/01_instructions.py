# ---
# jupyter:
#   jupytext:
#     text_representation: {extension: .py, format_name: percent}
# ---

# %% [markdown]
# # Solutions: instructions become batches

# %%
import json

import numpy as np

from tinygrad_llm.data import corpora
from tinygrad_llm.finetune import STYLES, InstructionDataset, collate_instructions
from tinygrad_llm.text import BPETokenizer

entries = json.loads(corpora.path("instruction-data").read_text(encoding="utf-8"))
tokenizer = BPETokenizer.train([entry["instruction"] + " " + entry["output"] for entry in entries], 512)
END = tokenizer.special_tokens["<|endoftext|>"]
data = InstructionDataset(entries, tokenizer, "phi3")

# %% [markdown]
# ## 1. Padding and order

# %%
def padding(order):
    """The share of padding among all places of an epoch, in batches of 8."""
    lengths = np.array([len(data[i][0]) for i in order])[: len(data) // 8 * 8].reshape(-1, 8)  # (batches, 8)
    return 1 - lengths.sum() / (lengths.max(axis=1) * 8).sum()


in_random_order = padding(np.random.RandomState(0).permutation(len(data)))
in_order_of_length = padding(np.argsort([len(ids) for ids, _ in data.examples]))
print(f"padding: {in_random_order:.0%} in random order, {in_order_of_length:.1%} sorted by length")
assert in_order_of_length < 0.05 < in_random_order

# %% [markdown]
# But the texts of a sorted batch are all similar, and the batches are always the same. Good loaders shuffle
# first, and then sort within groups.
#
# ## 2. No end
# The model never learns to stop: after its answer it continues and invents a new instruction. With all padding
# at −100 the same happens, because the one end-of-text that ends the text is padding too. So the first one
# counts:

# %%
inputs, targets = collate_instructions([data[0], data[1]], pad_token_id=END)
ends = [(row == END).sum().item() for row in targets]
print("end-of-text among the targets of each row:", ends)
assert ends == [1, 1]

# %% [markdown]
# ## 3. Phi-3's form

# %%
def phi3(entry):
    extra = f"\n{entry['input']}" if entry["input"] else ""
    return f"<|user|>\n{entry['instruction']}{extra}\n<|assistant|>\n{entry['output']}"


style = STYLES["phi3"]
print(phi3(entries[1]))
assert all(phi3(e) == style.prompt(e) + style.answer(e["output"]) for e in entries)
