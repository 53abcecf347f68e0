# ---
# jupyter:
#   jupytext:
#     text_representation: {extension: .py, format_name: percent}
# ---

# %% [markdown]
# # 4. Spending more at inference: votes, and best of N
#
# **Question.** A model is right in 40 % of its drawn answers. Can you get more right answers out of it without training,
# by drawing more and choosing well? And what does that cost?
#
# **For example.** Five answers: 7, 7, 9, 7, 12. The vote says 7. With the single answers the model is right
# three times of five.
#
# **Predict first.** A vote over 51 answers: what accuracy, if the 60 % wrong ones are all different? And if they are all the
# same wrong answer?
#
# **You need.** Lesson 1.

# %%
import matplotlib.pyplot as plt

import tinygrad_llm as torch
from tinygrad_llm.study.lesson import save_plot

torch.manual_seed(2)

# %% [markdown]
# ## By hand: 500 questions, 51 answers to each
# Answer 0 is right. In the first world wrong answers are spread over nine others; in the second half of the questions have
# one wrong answer that the model prefers.


# %%
def world(rows):
    """Answers, shape (Q, N): numbers from 0 to 9 drawn with each question's probabilities (Q, 10)."""
    return torch.multinomial(rows, 51, replacement=True)


spread = torch.full((500, 10), 0.6 / 9)
spread[:, 0] = 0.4
biased = spread.clone()
biased[:250] = torch.tensor([0.4, 0.5] + [0.1 / 8] * 8)


def majority(answers):
    """The most frequent answer of each row, shape (Q); of equal ones the smallest number, as argmax takes it."""
    counts = (answers.unsqueeze(2) == torch.arange(10)).sum(1)  # shape (Q, 10)
    return counts.argmax(1)


counts = (1, 3, 5, 11, 21, 51)
curves = {}
for name, rows in (("wrong answers differ", spread), ("half have a favourite mistake", biased)):
    answers = world(rows)
    # ties are broken by renaming: otherwise answer 0 would win them all
    names = torch.randperm(10)
    curves[name] = [(majority(names[answers[:, :n]]) == names[0]).float().mean().item() for n in counts]
    print(f"{name:32}", [round(c, 2) for c in curves[name]])
    plt.plot(counts, curves[name], "o-", label=f"vote, {name}")
assert curves["wrong answers differ"][-1] > 0.95
assert curves["half have a favourite mistake"][-1] < 0.7  # a vote makes a favourite mistake certain

# %% [markdown]
# With a perfect verifier one right answer among N is enough: 1 − 0.6^N. That is the ceiling for every way of choosing.

# %%
ceiling = [1 - 0.6**n for n in counts]
plt.plot(counts, ceiling, "k--", label="a perfect verifier chooses")
plt.xscale("log")
plt.xlabel("answers drawn per question (the cost in tokens grows with them)")
plt.ylabel("right")
plt.legend()
save_plot(plt.gcf(), "04_self_consistency")
assert all(c >= v - 0.05 for c, v in zip(ceiling, curves["wrong answers differ"]))

# %% [markdown]
# ## With the package
# `vote` compares extracted answers by a verifier, so "1/2" and "0.5" vote together; ties go to the answer with the higher
# log-probability. `heuristic_score` knows only the form: 2 for a box, plus 1.5·exp(−letters/500) for being short.
# `tinygrad-llm finetune spend smollm2-135m-instruct --task words` draws accuracy against tokens for a real model.

# %% tags=["package"]
from tinygrad_llm.evaluation import bootstrap
from tinygrad_llm.finetune.reasoning import best_of, heuristic_score, vote

texts = [r"so \boxed{1/2}", r"\boxed{0.5}", r"\boxed{3}", "I do not know."]
print(vote(texts, boxed=True))
assert vote(texts, boxed=True).votes == 2
assert vote(["4", "3"], scores=[-2.0, -1.0]).chosen == 1
print([round(heuristic_score(t), 3) for t in texts], "-> text", best_of([heuristic_score(t) for t in texts]))
assert best_of([heuristic_score(t) for t in texts]) == 2  # short and boxed, and wrong: it knows nothing of truth
print("40 questions of which 24 are right:", bootstrap([1.0] * 24 + [0.0] * 16))

# %% [markdown]
# ## Exercises
#
# 1. Compute the accuracy of a vote of 3 exactly, where an answer is right with probability p and all wrong answers differ
#    from each other (so that a tie of three different ones is broken by chance). For which p does the vote help?
# 2. Two ways are right in 24 and in 28 of the same 40 questions. Is the second better? Use `paired_difference`, once if
#    all 24 are among the 28, once if only 16 are.
# 3. A vote of N answers can end as soon as one answer has more than N/2 votes. Write it, show that it never chooses
#    another answer, and count how many of 9 answers it draws on average for p = 0.8 and for p = 0.3.
#
# Solutions: `lessons/solutions/17_reasoning/04_self_consistency.py`
