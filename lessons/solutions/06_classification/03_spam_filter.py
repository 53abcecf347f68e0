# ---
# jupyter:
#   jupytext:
#     text_representation: {extension: .py, format_name: percent}
# ---

# %% [markdown]
# # Solutions: a spam filter

# %%
import numpy as np

import tinygrad_llm as tl
from tinygrad_llm.finetune import (
    GPTClassifier,
    TextClassificationDataset,
    classification_trainer,
    evaluate_classifier,
    sms_spam_splits,
)
from tinygrad_llm.models import GPT
from tinygrad_llm.text import BPETokenizer

train, _, test = sms_spam_splits()
tokenizer = BPETokenizer.train([message for message, _ in train], 512)
PAD = tokenizer.special_tokens["<|endoftext|>"]


def filter_of(rows, T=48, steps=130):
    """The report on the test messages for a small model that learned from `rows`."""
    learn, judge = (TextClassificationDataset(part, tokenizer, max_length=T, pad_token_id=PAD) for part in (rows, test))
    tl.manual_seed(123)
    gpt = GPT(dict(vocab_size=512, context_length=T, emb_dim=32, n_heads=4, n_layers=1, drop_rate=0.0))
    model = GPTClassifier.from_gpt(gpt, pad_token_id=PAD)
    classification_trainer(model, learn, steps=steps, batch_size=16, lr=4e-3, progress=False).run(plan=False)
    return evaluate_classifier(model, judge)


# %% [markdown]
# ## 1. The threshold
# Call it spam if that costs less. With p the probability of spam, moving the message away costs 20·(1 − p) on
# average, leaving it costs p. So call it spam if p > 20/21 = 0.952.

# %%
report = filter_of(train)
p_spam, is_spam = report.probabilities[:, 1], report.labels == 1


def cost(threshold):
    called = p_spam > threshold
    return 20 * np.sum(called & ~is_spam) + np.sum(~called & is_spam)


for threshold in (0.5, 20 / 21):
    print(f"spam from {threshold:.3f} on: {np.sum((p_spam > threshold) & ~is_spam)} ham lost, "
          f"{np.sum((p_spam <= threshold) & is_spam)} spam read, cost {cost(threshold)}")
assert cost(20 / 21) <= cost(0.5)

# %% [markdown]
# ## 2. How much of a message

# %%
by_length = {T: filter_of(train, T).accuracy for T in (8, 16, 32)}
print(", ".join(f"{T} tokens: {value:.1%}" for T, value in by_length.items()))
assert by_length[8] > 0.6 and by_length[32] > by_length[8]

# %% [markdown]
# A few words are enough for a suspicion; a whole sentence is better.
#
# ## 3. How many labels

# %%
by_labels = {n: filter_of(train[:n]).accuracy for n in (50, 200, 1045)}
print(", ".join(f"{n} messages: {value:.1%}" for n, value in by_labels.items()))
assert by_labels[50] < by_labels[1045]
