# ---
# jupyter:
#   jupytext:
#     text_representation: {extension: .py, format_name: percent}
# ---

# %% [markdown]
# # Solutions: messages become a data set

# %%
import tinygrad_llm as torch
import tinygrad_llm.nn.functional as F
from tinygrad_llm.finetune import read_sms_spam, sms_spam_splits
from tinygrad_llm.text import BPETokenizer

train, validation, test = sms_spam_splits()
tokenizer = BPETokenizer.train([message for message, _ in train], 512)

# %% [markdown]
# ## 1. A bag of words
# Each message becomes a row of shares: what share of it is token 0, token 1, and so on. One weight for each token.

# %%
def bag(rows):
    shares = torch.zeros(len(rows), tokenizer.vocab_size)  # (N, V)
    for i, (message, _) in enumerate(rows):
        ids = torch.tensor(tokenizer.encode(message))
        shares[i] = torch.bincount(ids, minlength=tokenizer.vocab_size) / len(ids)
    return shares, torch.tensor([label for _, label in rows])


x, y = bag(train)
x_test, y_test = bag(test)
weight = torch.zeros(tokenizer.vocab_size, 2, requires_grad=True)
bias = torch.zeros(2, requires_grad=True)
optimizer = torch.optim.AdamW([weight, bias], lr=0.3, weight_decay=0.0)
for _ in range(100):
    loss = F.cross_entropy(x @ weight + bias, y)  # (N, V) @ (V, 2) -> (N, 2)
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
with torch.no_grad():
    accuracy = ((x_test @ weight + bias).argmax(dim=-1) == y_test).float().mean().item()
print(f"bag of words: {accuracy:.1%} of the test messages")
assert accuracy > 0.9

# %% [markdown]
# It ignores the order, and yet it is hard to beat: spam has its own words. A good baseline is worth an hour.
#
# ## 2. Copies

# %%
known = {message for message, _ in train}
copies = [message for message, _ in test if message in known]
print(f"{len(copies)} of {len(test)} test messages are copies of training messages")
assert 0 < len(copies) < len(test) / 5

# %% [markdown]
# Every eighth message: spam is sent many times. This makes the accuracy a little too good; leave the copies out
# for a strict test.
#
# ## 3. Weights instead of balance
# Each class gets the weight n/(2·n_class), so that both sum to n/2.

# %%
rows = read_sms_spam()
counts = torch.bincount(torch.tensor([label for _, label in rows]))  # (2)
weights = len(rows) / (2 * counts.float())  # (2)
print("counts", counts.tolist(), " weights", [round(w, 3) for w in weights.tolist()])
assert torch.allclose(weights * counts.float(), torch.full((2,), len(rows) / 2))

labels = torch.tensor([label for _, label in rows])
uniform = torch.zeros(len(rows), 2)
always_ham = uniform + torch.tensor([5.0, 0.0])
for name, w in (("plain", None), ("weighted", weights)):
    print(f"{name:9} loss of a uniform guess {F.cross_entropy(uniform, labels, weight=w).item():.3f}, "
          f"of 'always ham' {F.cross_entropy(always_ham, labels, weight=w).item():.3f}")
assert F.cross_entropy(always_ham, labels, weight=weights) > 2.0
