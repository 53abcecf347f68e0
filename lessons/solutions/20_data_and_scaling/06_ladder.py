# ---
# jupyter:
#   jupytext:
#     text_representation: {extension: .py, format_name: percent}
# ---

# %% [markdown]
# # Solutions: the ladder

# %%
import tinygrad_llm as torch

torch.manual_seed(123)

# %% [markdown]
# ## 1. Where Newton–Schulz ends
# f(1) = 0.701, and f(0.701) = 1.114: the coefficients are chosen so that *small* values grow fast (f'(0) = 3.44), not so that 1
# stays 1. The values move between about 0.7 and 1.2. For a step that is as good as 1: what matters is that directions differ by
# a factor below 2 and no longer by 1,000.

# %%
a, b, c = 3.4445, -4.7750, 2.0315
sigma, course = 1.0, []
for _ in range(20):
    sigma = a * sigma + b * sigma**3 + c * sigma**5
    course.append(sigma)
print("f applied to 1:", [f"{v:.3f}" for v in course[:6]])
assert 0.65 < min(course) and max(course) < 1.25

# %% [markdown]
# ## 2. How far an average looks back
# Weights of n steps ago count (1 − d)·dⁿ; on average they are d/(1 − d) = 49 steps old. An average that starts at the first
# weights still holds dᵗ of them: 36 % after 50 steps. One that starts at 0 and is divided by 1 − dᵗ, as Adam does with its moments,
# holds only what was seen.

# %%
d, w0, steps = 0.98, 5.0, 50
weights = (1.0 + 0.1 * torch.randn(steps)).tolist()
plain, corrected = w0, 0.0
for w in weights:
    plain, corrected = d * plain + (1 - d) * w, d * corrected + (1 - d) * w
corrected /= 1 - d**steps
ages = [(1 - d) * d**n * n for n in range(5000)]
print(f"plain {plain:.2f}, corrected {corrected:.2f}; weights are {sum(ages):.0f} steps old; the start counts {d**steps:.0%}")
assert abs(corrected - 1.0) < 0.1 < plain - 1.0 and round(sum(ages)) == 49

# %% [markdown]
# ## 3. Gains do not add up
# Both may cure the same thing: EMA and a rate that falls both bring swinging weights to rest; qk-norm and a warm-up both keep the
# first steps from breaking attention. And the nearer the loss is to what the text allows (its entropy), the less is left to
# gain. So show each idea alone *and* the climb, and give the order: the first of two related ideas gets the gain of both.

# %%
floor, start = 1.30, 1.50
after = start
for share in (0.5, 0.5):  # each idea removes half of what can be removed
    after = floor + (after - floor) * (1 - share)
print(f"alone {start - (floor + (start - floor) / 2):.2f} each, together {start - after:.2f}")
assert round(start - after, 2) == 0.15
