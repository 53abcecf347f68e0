# ---
# jupyter:
#   jupytext:
#     text_representation: {extension: .py, format_name: percent}
# ---

# %% [markdown]
# # 6. A critic for each token, and a calculator
#
# **Question.** GRPO gives every token of an answer the same advantage. But a wrong answer often has one wrong token: "3+4=8"
# was fine up to the "=". Can a model learn which token it was?
#
# **For example.** A critic says 0.5 before a token and 0.9 behind it: this token has made a right answer
# likelier by 0.4.
#
# **Predict first.** A critic says how likely a right answer still is: 0.5 after "3+4=", and 0.0 after "3+4=8". Which token
# should be blamed?
#
# **You need.** Lessons 2 and 3.

# %%
import matplotlib.pyplot as plt

import tinygrad_llm as torch
from tinygrad_llm.study.lesson import save_plot

torch.manual_seed(2)

# %% [markdown]
# ## By hand: generalised advantage estimation
# The surprise at a token is δ = r + V(next) − V(here): what came, and what is expected now, less what was expected before.
# The advantage adds up the surprises that follow, each worth λ times less. With λ = 0 a token answers for its own surprise
# alone, with λ = 1 for all that came after it.


# %%
def gae(rewards, values, lam):
    advantages, after, following = [], 0.0, 0.0
    for r, v in zip(reversed(rewards), reversed(values)):
        after = (r + following - v) + lam * after
        following = v
        advantages.append(after)
    return advantages[::-1]


tokens = ["3", "+", "4", "=", "8", "end"]
values = [0.5, 0.5, 0.5, 0.5, 0.5, 0.0]  # before each token; before "end" the "8" is already there
rewards = [0.0] * 6
curves = {lam: gae(rewards, values, lam) for lam in (0.0, 0.5, 0.95, 1.0)}
for lam, a in curves.items():
    plt.plot(a, "o-", label=f"λ = {lam}")
plt.xticks(range(6), tokens)
plt.ylabel("advantage of the token")
plt.legend()
save_plot(plt.gcf(), "06_critic_and_calculator")
print("λ = 0:", curves[0.0])
assert curves[0.0] == [0.0, 0.0, 0.0, 0.0, -0.5, 0.0]  # the 8, and nothing else
assert all(abs(a + 0.5) < 1e-12 for a in curves[1.0][:5])  # all before it share the blame
assert curves[0.95][3] < curves[0.95][0] < 0.0

# %% [markdown]
# ## By hand: how a critic learns
# V is to be the reward that still comes. Its loss is ½·(V − R)²; PPO also holds V near the value at the time of the draw, and
# takes the larger of the two errors. Here V of a place in a game: at each of five places an answer turns out right with
# another probability.

# %%
p = torch.tensor([0.1, 0.3, 0.5, 0.7, 0.9])
V = torch.zeros(5, requires_grad=True)
optimizer = torch.optim.SGD([V], lr=1.0)
for _ in range(60):
    returns = (torch.rand(40, 5) < p).float()  # shape (40, 5): forty answers through each place
    old = V.detach().clone()
    near = old + (V - old).clamp(-0.2, 0.2)
    loss = 0.5 * torch.maximum((V - returns) ** 2, (near - returns) ** 2).mean(0).sum()
    optimizer.zero_grad()
    loss.backward()
    for group in optimizer.param_groups:
        group["lr"] *= 0.95
    optimizer.step()
print("values", [round(v, 2) for v in V.tolist()])
assert (V.detach() - p).abs().max() < 0.12

# %% [markdown]
# ## With the package: PPO on a question
# `grpo_trainer(..., method="ppo")` gives the model a value head, one number for each hidden state, beside its output layer.
# `tinygrad-llm finetune grpo --method ppo` does it for a whole run.

# %% tags=["package"]
from tinygrad_llm.finetune.reasoning import grpo_trainer, make_questions
from tinygrad_llm.models import GPT, GPTConfig
from tinygrad_llm.text import CharTokenizer

tokenizer = CharTokenizer.train("0123456789+=<>", ("<|endoftext|>",))
end = tokenizer.eot_token
torch.manual_seed(1)
model = GPT(GPTConfig(tokenizer.vocab_size, 16, emb_dim=32, n_heads=4, n_layers=1, drop_rate=0.0))
question = [{"instruction": "1+2=", "output": "3"}]
trainer = grpo_trainer(
    model, tokenizer, question, question, method="ppo", group_size=32, batch_size=1, steps=50, lr=1e-2, answer_tokens=2,
    patience=100, end=end, eval_every=100, progress=False,
)
first = trainer.stream.batches.drawn(0)
assert (first["values"] == 0.0).all()  # the head begins with zeros
before = trainer.stream.batches.statistics.right
trainer.run(plan=False)
last = trainer.stream.batches.drawn(0)
shown = last["values"][last["mask"]].mean().item()
after = trainer.stream.batches.statistics.right
print(f"right {before:.2f} -> {after:.2f}, mean value {shown:.2f}")
assert after > before + 0.3 and abs(shown - after) < 0.3

# %% [markdown]
# ## A calculator that a model calls
# After "<<12*3=" the calculator writes "36>>". Those tokens are not the model's: they carry no loss, or the model would
# learn to guess the result. Brackets mark what carries the loss.

# %% tags=["package"]
import numpy as np

from tinygrad_llm.finetune import show_labels
from tinygrad_llm.finetune.masks import loss_mask
from tinygrad_llm.generation import Calculator
from tinygrad_llm.generation.calculator import FormulaError, evaluate

tool = Calculator()
written = "1+2=<<1+2="
result = tool.answer(written)
print(written, "->", result)
assert result == "3>>" and tool.answer("1+2=") is None
ids = tokenizer.encode(written + result + "3") + [end]
call, tools_end = tokenizer.encode(written), tokenizer.encode(written + result)
mask = loss_mask([len(ids)], [[(4, len(call)), (len(tools_end), len(ids))]], len(ids), end=False)  # shape (1, T)
print(show_labels({"ids": np.array([ids]), "mask": mask}, tokenizer, colour=False))
for formula in ("__import__('os')", "9^9^9", "1/0"):
    try:
        evaluate(formula)
        raise SystemExit("it was computed!")
    except FormulaError as error:
        print(f"{formula!r}: {error}")

# %% [markdown]
# ## Exercises
#
# 1. Show with numbers: with λ = 1 the advantage of every token is the return less its value, however wrong the values are
#    in between.
# 2. A critic that says 0 everywhere, and one reward at the end: what are the advantages for λ = 1 and for λ = 0? Which of
#    them is REINFORCE?
#
# Solutions: `lessons/solutions/17_reasoning/06_critic_and_calculator.py`
