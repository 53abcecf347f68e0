# ---
# jupyter:
#   jupytext:
#     text_representation: {extension: .py, format_name: percent}
# ---

# %% [markdown]
# # Solutions: scaling laws

# %%
import tinygrad_llm as torch

torch.manual_seed(123)
E, A, B, alpha, beta = 1.69, 406.4, 410.7, 0.34, 0.28


def loss(N, D):
    return E + A / N**alpha + B / D**beta


# %% [markdown]
# ## 1. GPT-3 by Chinchilla's law
# With C = 6·175·10⁹·300·10⁹ the best N is G·(C/6)^(β/(α + β)), G = (α·A/(β·B))^(1/(α + β)): a smaller model on more tokens.

# %%
C = 6 * 175e9 * 300e9
G = (alpha * A / (beta * B)) ** (1 / (alpha + beta))
N = G * (C / 6) ** (beta / (alpha + beta))
D = C / 6 / N
print(f"C = {C:.2e}: N = {N:.2e}, D = {D:.2e}, loss {loss(N, D):.4f} in place of {loss(175e9, 300e9):.4f}")
assert N < 175e9 / 4 and loss(N, D) < loss(175e9, 300e9) - 0.01

# %% [markdown]
# ## 2. Predict the runs with the most tokens

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
n, d, measured = rows.T


def predicted(theta, n, d):
    terms = [theta[0] - theta[3].exp() * n.log(), theta[1] - theta[4].exp() * d.log()]
    if len(theta) == 5 and theta[2].item() > -100:
        terms.append(theta[2] + 0 * n)
    return torch.logsumexp(torch.stack(terms), 0)


def fit(n, d, measured, without_E=False, steps=1500):
    start = [3.0, 6.0, -1e3 if without_E else 0.7, -1.0, -0.8]
    theta = torch.tensor(start, dtype=torch.float64, requires_grad=True)
    optimizer = torch.optim.Adam([theta], lr=0.03)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)
    for _ in range(steps):
        optimizer.zero_grad()
        r = predicted(theta, n, d) - measured.log()
        torch.where(r.abs() <= 1e-3, 0.5 * r * r, 1e-3 * (r.abs() - 5e-4)).sum().backward()
        optimizer.step()
        schedule.step()
    return theta.detach()


last = d == d.max()
theta = fit(n[~last], d[~last], measured[~last])
guess = predicted(theta, n[last], d[last]).exp()
for size, g, m in zip(n[last].tolist(), guess.tolist(), measured[last].tolist()):
    print(f"N = {size:9,.0f}: predicted {g:.3f}, measured {m:.3f}")
worst = (guess / measured[last] - 1).abs().max().item()
print(f"largest error {worst:.1%}")
assert worst < 0.25

# %% [markdown]
# ## 3. Without E
# Within the data both fit about as well: the power laws can bend only a little less. Far outside they part: without a floor the loss
# falls on and on.

# %%
laws = [fit(n, d, measured), fit(n, d, measured, without_E=True)]
errors = [(predicted(t, n, d) - measured.log()).pow(2).mean().sqrt().item() for t in laws]
far = [predicted(t, torch.tensor(1e9, dtype=torch.float64), torch.tensor(2e10, dtype=torch.float64)).exp().item() for t in laws]
print(f"errors {errors[0]:.2%} and {errors[1]:.2%}; at 10⁹ parameters: {far[0]:.2f} and {far[1]:.2f} nats per token")
assert errors[1] < 2 * errors[0] and far[1] < far[0]
