# ---
# jupyter:
#   jupytext:
#     text_representation: {extension: .py, format_name: percent}
# ---

# %% [markdown]
# # 1. Verifiers: is this answer right?
#
# **Question.** A model that learns from rewards needs somebody who says "right" or "wrong" a thousand times a minute. For
# mathematics a program can. But "14/3", "\frac{14}{3}" and "4.666..." are written in three ways: which of them are equal,
# and how does a program decide without running what a model wrote?
#
# **For example.** "0.5", "1/2" and "50 %" are one number. "\boxed{1/2}" at the end of an answer is what
# counts, not the 1 in the middle of it.
#
# **Predict first.** The model ends with "... so \boxed{1} is wrong, and \boxed{\frac{1}{2}". What is its answer?
#
# **You need.** Python.

# %%
import re
from fractions import Fraction

import matplotlib.pyplot as plt

import tinygrad_llm as torch
from tinygrad_llm.study.lesson import save_plot

# %% [markdown]
# ## By hand: the last box
# A regular expression cannot count nested braces, so we count them. If the last box is not closed, the text was cut: an
# earlier box is not the answer.


# %%
def last_box(text):
    start = text.rfind("\\boxed{")
    if start < 0:
        return None
    depth, rest = 0, text[start + len("\\boxed") :]
    for i, letter in enumerate(rest):
        depth += (letter == "{") - (letter == "}")
        if depth == 0:
            return rest[1:i]
    return None


assert last_box(r"so \boxed{\frac{1}{2}}") == r"\frac{1}{2}"
assert last_box(r"\boxed{1} is wrong, and \boxed{\frac{1}{2}") is None
assert last_box("no box") is None


# %% [markdown]
# ## By hand: a grammar of four rules instead of `eval`
# `eval("__import__('os').remove('thesis.txt')")` is an answer too. A parser that knows numbers, + − · / and brackets can
# only compute; everything else is an error.


# %%
def value(text):
    tokens = re.findall(r"\d+|[-+*/()]|\S", text)

    def total():
        x = product()
        while tokens and tokens[0] in "+-":
            x = x + product() if tokens.pop(0) == "+" else x - product()
        return x

    def product():
        x = atom()
        while tokens and tokens[0] in "*/":
            x = x * atom() if tokens.pop(0) == "*" else x / atom()
        return x

    def atom():
        token = tokens.pop(0) if tokens else "the end"
        if token == "-":
            return -atom()
        if token == "(":
            x = total()
            assert tokens and tokens.pop(0) == ")", "a bracket is not closed"
            return x
        assert token.isdigit(), f"{token!r} is not allowed"
        return Fraction(token)

    x = total()
    assert not tokens, f"{tokens[0]!r} is left"
    return x


print("2*(3+4)/6 =", value("2*(3+4)/6"))
assert value("2*(3+4)/6") == Fraction(7, 3)
halves = torch.tensor([float(value(text)) for text in ("1/2", "2/4", "1-1/2", "3/(4+2)")])
print("four ways to write a half:", halves.tolist())
assert torch.allclose(halves, torch.full((4,), 0.5))
try:
    value("__import__('os')")
    raise SystemExit("it was run!")
except AssertionError as error:
    print("refused:", error)

# %% [markdown]
# ## With the package: two verifiers that work in different ways
# `verify` extracts, normalises and parses; then a judge decides. One judge is sympy in a child process with limits of time
# and memory, the other computes both formulas at random points. Where they disagree, somebody should look.

# %% tags=["package"]
from tinygrad_llm.evaluation.verifiers import parse, verify

pairs = [
    (r"\boxed{\dfrac{14}{3}}", "14/3"), (r"\boxed{90^\circ}", "90"), (r"\boxed{10,\!080}", "10080"),
    (r"\boxed{(a+5)(b+2)}", "ab + 2a + 5b + 10"), (r"\boxed{3, 5, 7}", "7, 3, 5"), (r"\boxed{(3,4]}", "[3,4]"),
    (r"\boxed{1 \pm \sqrt{19}}", r"1-\sqrt{19}, 1+\sqrt{19}"), (r"\boxed{0.333}", r"\frac13"),
]
verdicts = [verify(text, expected) for text, expected in pairs]
for (text, expected), verdict in zip(pairs, verdicts):
    print(f"{text:28} {expected:28} {verdict.correct!s:6} {verdict.how}")
assert [v.correct for v in verdicts] == [True] * 5 + [False, True, False]
print("a tree:", parse(r"\frac{1}{2}x^2"))

# %% [markdown]
# ## Extraction alone moves the score
# The same texts, with four rules for where the answer is. A comparison of two models has to use one rule.

# %% tags=["package"]
texts = [
    r"\boxed{7}", "The answer is 7.", "7", "First 3, then 4: 7 in all.", "It is 8 or 7.", r"\boxed{8}, not 7",
    "seven", "7 apples and 2 pears", "It is 7. I checked 3 times.",
]
scores = {}
for rule in ("none", "number", "text", "stated"):
    scores[rule] = sum(verify(t, "7", fallback=rule).correct for t in texts) / len(texts)
print(scores)
assert scores["stated"] > scores["text"]
assert scores["none"] < scores["number"]
rights = torch.tensor([[float(verify(t, "7", fallback=r).correct) for t in texts] for r in scores])  # shape (4, 9)
plt.imshow(rights.numpy(), cmap="Greens", aspect="auto")
plt.xticks(range(len(texts)), texts, rotation=30, ha="right", fontsize=7)
plt.yticks(range(4), [f"{rule}: {score:.2f}" for rule, score in scores.items()])
plt.title("expected: 7. Which texts count as right, by the rule that finds the answer")
save_plot(plt.gcf(), "01_verifiers")

# %% [markdown]
# ## Exercises
#
# 1. Add powers (`2^10`) to `value`, so that `2^3^2` is 2^(3^2) = 512, and refuse exponents above 100. Why the last?
# 2. Which text would a verifier that only compares last numbers reward although it is wrong? Write one, and say what a
#    model trained with that reward would learn.
#
# Solutions: `lessons/solutions/17_reasoning/01_verifiers.py`
