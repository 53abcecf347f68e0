# ---
# jupyter:
#   jupytext:
#     text_representation: {extension: .py, format_name: percent}
# ---

# %% [markdown]
# # Solutions: instruction tuning

# %%
import copy
import json

import tinygrad_llm as tl
from tinygrad_llm.data import corpora
from tinygrad_llm.finetune import (
    InstructionDataset,
    PromptStyle,
    collate_instructions,
    instruction_trainer,
    split_in_order,
    word_overlap,
)
from tinygrad_llm.models import GPT
from tinygrad_llm.text import BPETokenizer
from tinygrad_llm.training import EvaluationBatches, TokenBatches, Trainer, evaluate

entries = json.loads(corpora.path("instruction-data").read_text(encoding="utf-8"))
short = [e for e in entries if len(e["instruction"] + e["input"] + e["output"]) < 120]
train, validation, _ = split_in_order(short)
plays = corpora.load("tinyshakespeare").text[:60_000]
tokenizer = BPETokenizer.train([plays, *(e["instruction"] + " " + e["output"] for e in train)], 400)
END = tokenizer.special_tokens["<|endoftext|>"]
style = PromptStyle(name="task", instruction="Task: ", input="\nText: ", response="\nAnswer: ")
train_set, val_set = (InstructionDataset(part, tokenizer, style) for part in (train, validation))

tl.manual_seed(123)
base = GPT(dict(vocab_size=400, context_length=128, emb_dim=48, n_heads=4, n_layers=1, drop_rate=0.0))
optimizer = tl.optim.AdamW(base.parameters(), lr=3e-3)
Trainer(base, optimizer, TokenBatches(tokenizer.encode(plays), 16, 64), steps=120, progress=False).run(plan=False)


def tune(mask):
    model = copy.deepcopy(base)
    trainer = instruction_trainer(model, train_set, epochs=1, batch_size=8, lr=3e-3, pad_token_id=END,
                                  mask_instruction=mask, progress=False)
    trainer.run(plan=False)
    return model, trainer.last_loss


# %% [markdown]
# ## 1. With and without the questions
# The losses are means over different tokens: the responses alone, or the questions too. So compare them on the
# same tokens.

# %%
responses = [collate_instructions([val_set[i] for i in range(j, min(j + 8, len(val_set)))], pad_token_id=END,
                                  mask_instruction=True) for j in range(0, len(val_set), 8)]
response_loss = {}
for mask in (False, True):
    model, last = tune(mask)
    response_loss[mask] = evaluate(model, responses)[0]
    print(f"mask_instruction={mask!s:5} last training loss {last:.2f}, validation responses {response_loss[mask]:.3f}")
start = evaluate(base, responses)[0]
print(f"before: {start:.3f}")
assert max(response_loss.values()) < start

# %% [markdown]
# With so few and so short responses the questions are worth learning too; published results differ from data set
# to data set.
#
# ## 2. Forgetting

# %%
some_plays = EvaluationBatches(tokenizer.encode(plays[:8000]), 16, 64)
before, after = evaluate(base, some_plays)[0], evaluate(tune(False)[0], some_plays)[0]
print(f"loss on the plays: {before:.2f} before, {after:.2f} after the tuning")
assert after > before

# %% [markdown]
# What helps against it: a smaller learning rate, LoRA, or some pages of the old text among the new examples.
#
# ## 3. Blind spots of a word count

# %%
wrong = word_overlap("The capital of France is London.", "The capital of France is Paris.")
right = word_overlap("It lies on the Seine: Paris", "The capital of France is Paris.")
print(f"a wrong answer {wrong:.2f}, a right one {right:.2f}")
assert wrong > 0.8 > 0.4 > right
