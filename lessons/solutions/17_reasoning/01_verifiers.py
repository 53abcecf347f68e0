# ---
# jupyter:
#   jupytext:
#     text_representation: {extension: .py, format_name: percent}
# ---

# %% [markdown]
# # Solutions: verifiers
#
# ## 1. Powers, from the right
# The exponent is again a power, so the function calls itself on the right. Without a bound, 9^9^9 is a number of 369
# million digits: the verifier would stand still, and with it the training.

# %%
import re
from fractions import Fraction

import tinygrad_llm as torch


def power(tokens):
    base = Fraction(tokens.pop(0))
    if tokens and tokens[0] == "^":
        tokens.pop(0)
        exponent = power(tokens)
        if abs(exponent) > 100:
            raise ValueError(f"the exponent {exponent} is too large")
        return base**exponent
    return base


def value(text):
    return power(re.findall(r"\d+|\^", text))


powers = torch.tensor([float(value(text)) for text in ("2^10", "2^3^2", "2^1^9")])
assert torch.equal(powers, torch.tensor([1024.0, 512.0, 2.0]))
try:
    value("9^9^9")
    raise SystemExit("it was computed")
except ValueError as error:
    print(error)

# %% [markdown]
# ## 2. A wrong answer with the right number at its end
# "It is 9, certainly not 7" ends with 7. A model that is rewarded for last numbers learns to list several numbers and to
# end with a likely one; a box, of which only the last counts, has the same hole, but a list of boxes is easy to see.

# %% tags=["package"]
from tinygrad_llm.evaluation.verifiers import verify

cheat = "It is 9, certainly not 7"
assert verify(cheat, "7", fallback="number").correct
assert not verify(cheat, "7").correct
shares = torch.tensor([float(verify(cheat, str(n), fallback="number").correct) for n in range(10)])
assert shares.sum().item() == 1.0
