# ---
# jupyter:
#   jupytext:
#     text_representation: {extension: .py, format_name: percent}
# ---

# %% [markdown]
# # 5. Scaling laws: how large, on how much text?
#
# **Question.** You may spend C operations on training, once. A small model on much text, or a large one on little?
#
# **For example.** With 6·10¹⁵ operations one can train 1 million parameters on 1 billion tokens, or 10 million on 100 million.
# The first has read more than it can keep, the second could keep more than it has read.
#
# **Predict first.** A model has 400 million parameters. How many tokens should it read? Two published answers, from the same
# runs, are 7.8 and 14.5 billion. How can both be right?
#
# **You need.** Logarithms and powers, pretraining (chapter 05), and an optimizer.

# %%
import matplotlib.pyplot as plt

import tinygrad_llm as torch
from tinygrad_llm.study.lesson import save_plot

torch.manual_seed(123)

# %% [markdown]
# ## By hand: C = 6·N·D
# A weight takes part in one multiplication and one addition for each token: 2 operations. The backward pass has two such
# products, one for the gradient of the input and one for that of the weight: 4 more. N weights and D tokens: 6·N·D.

# %%
def layer_operations(n_in, n_out, tokens):
    forward = 2 * tokens * n_in * n_out  # y = x·Wᵀ
    to_input = 2 * tokens * n_in * n_out  # ∂L/∂x = g·W
    to_weight = 2 * tokens * n_in * n_out  # ∂L/∂W = gᵀ·x
    return forward + to_input + to_weight


assert layer_operations(768, 3072, 1000) == 6 * (768 * 3072) * 1000
print(f"70 billion parameters, 1.4·10¹² tokens: C = {6 * 70e9 * 1.4e12:.2e}")

# %% [markdown]
# ## By hand: the best size for C
# Hoffmann et al. (2022) fitted the losses of 400 runs by
#
#     L(N, D) = 1.69 + 406.4/N^0.34 + 410.7/D^0.28
#
# The first term is what no model can know. The second falls with the size, the third with the tokens. Along C = 6·N·D one rises
# while the other falls; at the best N their derivatives by log N are equal: α·A/N^α = β·B/D^β.

# %%
E, A, B, alpha, beta = 1.69, 406.4, 410.7, 0.34, 0.28


def loss(N, D):
    return E + A / N**alpha + B / D**beta


def best_tokens(N):
    return (beta * B * N**alpha / (alpha * A)) ** (1 / beta)


N = 400e6
D = best_tokens(N)
C = 6 * N * D
print(f"400 M parameters are best with {D / 1e9:.2f} billion tokens, for C = {C:.2e}")
assert abs(D / 1e9 - 14.47) < 0.01
for factor in (0.5, 0.8, 1.0, 1.25, 2.0):
    print(f"  N = {factor * N:.1e}, D = {D / factor:.2e}: {loss(factor * N, D / factor):.5f}")
assert loss(N, D) < min(loss(0.8 * N, D / 0.8), loss(1.25 * N, D / 1.25))

# %% [markdown]
# ## Two answers from the same runs
# The same paper has a table made in another way: for each of nine budgets C the bottom of a parabola through the losses of
# several sizes. A straight line through its (log N, log D) is D = 10^(1.041·log10 N + 0.9354).

# %%
by_line = 10 ** (1.041 * torch.log10(torch.tensor(N, dtype=torch.float64)).item() + 0.9354)
print(f"by the line: {by_line / 1e9:.2f} billion, {by_line / N:.1f} tokens per parameter; by the law {D / N:.1f}")
assert abs(by_line / 1e9 - 7.77) < 0.01

power = alpha / beta
print(f"by the law D ~ N^{power:.2f}, by the line D ~ N^1.04")
for size in (1e7, 4e8, 7e10):
    line = 10 ** (1.041 * torch.log10(torch.tensor(size, dtype=torch.float64)).item() + 0.9354)
    print(f"  N = {size:.0e}: law {best_tokens(size) / size:6.1f}, line {line / size:5.1f} tokens per parameter")

# %% [markdown]
# The gap is not an error of arithmetic. The law has to have *one* form for all runs, and its two exponents decide how D grows with N;
# the parabolas have no form, and each sees only runs near its own bottom. A small change of α or β turns the line
# around the middle of the data, so answers far from the middle differ most. (Besiroglu et al., 2024, showed that the
# published law does not fit the published points well, and that its intervals are too narrow.) And near the bottom the loss is flat: the
# cost of the wrong answer is small.

# %%
other = by_line  # tokens for the same model; what is saved is spent on a larger one at equal C
wrong_N = (C / (6 * by_line / N)) ** 0.5  # so that D/N is that of the line
print(f"loss at equal C: {loss(N, D):.4f} by the law, {loss(wrong_N, C / 6 / wrong_N):.4f} with the line's tokens per parameter")
assert 0 < loss(wrong_N, C / 6 / wrong_N) - loss(N, D) < 0.02

# %% [markdown]
# ## Our own law
# `tinygrad-llm sweep` trained models of six sizes on Python's sources, Shakespeare and tales (benchmarks/SCALING.md has the
# command). Each row: parameters, tokens, loss in nats per token on other documents. No run read its text twice.

# %%
RUNS = """
12480 400384 4.5042
12480 800768 4.2514
12480 1600512 4.1494
12480 3200000 4.0823
28176 400384 4.5249
28176 800768 4.1414
28176 1600512 3.9598
28176 3200000 3.8488
62320 400384 4.3056
62320 800768 3.9872
62320 1600512 3.7937
62320 3200000 3.5783
186368 400384 4.2906
186368 800768 3.8959
186368 1600512 3.6416
186368 3200000 3.3121
501696 400384 4.0859
501696 800768 3.7934
501696 1600512 3.5035
501696 3200000 3.1069
1063424 400384 4.0339
1063424 800768 3.7372
1063424 1600512 3.4395
1063424 3200000 3.0071
"""
rows = torch.tensor([[float(x) for x in line.split()] for line in RUNS.split("\n") if line], dtype=torch.float64)
n, d, measured = rows.T  # shape (runs) each
print(f"{len(rows)} runs, losses from {measured.max().item():.2f} to {measured.min().item():.2f}")

# %% [markdown]
# ## By hand: fit it
# Five numbers are sought: log A, log B, log E, log α, log β, so that none can become negative. The error is that of log L, through
# Huber's loss: squared when small, linear when large, so that one bad run does not pull the law to itself. Our engine computes the
# gradients.

# %%
def huber(r, delta=1e-3):
    size = r.abs()
    return torch.where(size <= delta, 0.5 * r * r, delta * (size - 0.5 * delta))


def predicted(theta, n, d):
    terms = torch.stack([
        theta[0] - theta[3].exp() * n.log(), theta[1] - theta[4].exp() * d.log(), theta[2] + 0 * n
    ])  # shape (3, runs)
    return torch.logsumexp(terms, 0)  # shape (runs): log L


def fit(n, d, measured, steps=1500):
    theta = torch.tensor([3.0, 6.0, 0.7, -1.0, -0.8], dtype=torch.float64, requires_grad=True)
    optimizer = torch.optim.Adam([theta], lr=0.03)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)
    for _ in range(steps):
        optimizer.zero_grad()
        value = huber(predicted(theta, n, d) - measured.log()).sum()
        value.backward()
        optimizer.step()
        schedule.step()
    return theta.detach(), value.item()


theta, value = fit(n, d, measured)
a, b, e = theta[:3].exp().tolist()
own_alpha, own_beta = theta[3:].exp().tolist()
error = (predicted(theta, n, d) - measured.log()).pow(2).mean().sqrt().item()
print(f"L = {e:.2f} + {a:.1f}/N^{own_alpha:.2f} + {b:.0e}/D^{own_beta:.2f}, error {error:.1%}")
assert error < 0.04

# %% [markdown]
# ## With the package
# `fit_law` does the same from many starts with BFGS, and again on 200 resampled sets of runs. Look at the intervals before
# you believe a digit: E and α can trade places with each other, while the power with which the best N grows is better known.

# %% tags=["package"]
from tinygrad_llm.training.scaling.fit import fit_law  # noqa: E402
from tinygrad_llm.training.scaling.isoflop import isoflop  # noqa: E402
from tinygrad_llm.training.scaling.laws import CHINCHILLA, tokens_by_regression  # noqa: E402

fitted = fit_law(n.numpy(), d.numpy(), measured.numpy(), resamples=200, seed=1)
for name, number in {**fitted.law._asdict(), "power": fitted.power}.items():
    low, high = fitted.intervals[name]
    print(f"  {name:6} {number:9.3g}  [{low:.3g}, {high:.3g}]")
from_law = huber(torch.tensor([fitted.law.loss(*pair) for pair in zip(n.tolist(), d.tolist())]).log() - measured.log())
assert from_law.sum().item() < value * 1.02, "our descent is not better"
assert abs(CHINCHILLA.tokens_for(400e6) - D) < 1e-6 * D and abs(tokens_by_regression(400e6) - by_line) < 1e-6 * D
budget = 5e11
points, bottom = isoflop(n.numpy(), d.numpy(), measured.numpy(), budget)
print(f"C = {budget:.0e}: best N by a parabola {bottom:,.0f}, by the law {fitted.law.best_parameters(budget):,.0f}, "
      f"by Chinchilla's {CHINCHILLA.best_parameters(budget):,.0f}")  # fmt: skip

# %% [markdown]
# **Answer.** Size and tokens grow together, roughly as the square root of C each; around 20 tokens per parameter for large models
# on the web, and another number for other text and other tokenizers. A law is good between its points; outside of them its
# intervals say how far it can be trusted.

# %%
figure, axes = plt.subplots(1, 2, figsize=(11, 4.2))
for size in sorted(set(n.tolist())):
    own = n == size
    (line,) = axes[0].plot(d[own].numpy(), measured[own].numpy(), "o", markersize=4, label=f"N = {size:,.0f}")
    wide = torch.logspace(5.5, 6.6, 40, dtype=torch.float64)
    curve = predicted(theta, torch.full_like(wide, size), wide).exp()
    axes[0].plot(wide.numpy(), curve.numpy(), color=line.get_color(), linewidth=0.9)
axes[0].set_xscale("log"), axes[0].set_xlabel("tokens"), axes[0].set_ylabel("loss (nats per token)")
axes[0].set_xticks([4e5, 8e5, 1.6e6, 3.2e6], ["400k", "800k", "1.6M", "3.2M"]), axes[0].minorticks_off()
axes[0].legend(fontsize=7), axes[0].set_title("runs, and the law through them")
sizes = torch.logspace(7, 11, 60, dtype=torch.float64)
axes[1].plot(sizes.numpy(), [best_tokens(s) / s for s in sizes.tolist()], label="Chinchilla's law")
axes[1].plot(sizes.numpy(), [10 ** (1.041 * x + 0.9354) / 10**x for x in sizes.log10().tolist()], label="line through the table")
axes[1].set_xscale("log"), axes[1].set_yscale("log"), axes[1].legend()
axes[1].set_xlabel("parameters"), axes[1].set_ylabel("best tokens per parameter")
save_plot(figure, "05_scaling")

# %% [markdown]
# ## Exercises
# 1. GPT-3 has 175 billion parameters and read 300 billion tokens. Which N and D would Chinchilla's law have chosen for the same C,
#    and what would the loss have been?
# 2. Fit our law without the runs of the most tokens, and predict these. How large are the errors?
# 3. A mistake that runs without an error: E is left out (E = 0). Compare the error within the data, and what both laws say for
#    10⁹ parameters and 2·10¹⁰ tokens.
#
# Solutions: `lessons/solutions/20_data_and_scaling/05_scaling.py`
