# ---
# jupyter:
#   jupytext:
#     text_representation: {extension: .py, format_name: percent}
# ---

# %% [markdown]
# # 5. Distillation: a student learns from a teacher
#
# **Question.** A large model is right and expensive, a small one cheap and often wrong. The large one can write answers for
# the small one to learn ("hard"), or show its whole distribution at every token ("soft"). What does the second add?
#
# **For example.** "The capital of France is": the teacher says Paris 0.9, Lyon 0.06. The 0.06 tells the
# student that Lyon is a French city.
#
# **Predict first.** The teacher says "cat" with 0.5, "dog" with 0.4. A student can only choose one word firmly. KL(teacher,
# student) or KL(student, teacher): which one makes it hedge, and which one lets it choose?
#
# **You need.** Chapter 05, lesson 1.

# %%
import matplotlib.pyplot as plt

import tinygrad_llm as torch
from tinygrad_llm.study.lesson import save_plot

torch.manual_seed(3)

# %% [markdown]
# ## By hand: two directions of KL
# A teacher with two peaks over 21 places, and a student that is one bell curve (a mean and a width). Forward KL covers both
# peaks; reverse KL takes one.

# %%
x = torch.linspace(-3, 3, 21)
P = torch.softmax(torch.log(torch.exp(-((x - 1.5) ** 2) / 0.1) + 0.7 * torch.exp(-((x + 1.5) ** 2) / 0.1) + 1e-9), dim=0)


def fit(direction):
    mean = torch.tensor(0.4, requires_grad=True)
    log_width = torch.tensor(0.0, requires_grad=True)
    optimizer = torch.optim.Adam([mean, log_width], lr=0.05)
    for _ in range(300):
        log_q = torch.log_softmax(-((x - mean) ** 2) / torch.exp(log_width), dim=0)  # shape (21)
        log_p = torch.log(P)
        forward, reverse = (P * (log_p - log_q)).sum(), (torch.exp(log_q) * (log_q - log_p)).sum()
        optimizer.zero_grad()
        (forward if direction == "forward" else reverse).backward()
        optimizer.step()
    return mean.item(), torch.exp(log_q).detach()


figure, axes = plt.subplots(1, 2, figsize=(9, 3.2))
axes[0].plot(x.numpy(), P.numpy(), "k-", label="teacher")
means = {}
for direction in ("forward", "reverse"):
    means[direction], Q = fit(direction)
    axes[0].plot(x.numpy(), Q.numpy(), label=f"{direction} KL")
axes[0].legend(fontsize=8)
print("where the student stands:", {k: round(v, 2) for k, v in means.items()})
assert abs(means["forward"]) < 0.6 and means["reverse"] > 1.2

# %% [markdown]
# ## By hand: the gradient, and the factor τ²
# Both are divided by a temperature τ. The gradient of forward KL by the student's logits is (Q − P)/τ; for a large τ the
# difference Q − P shrinks like 1/τ too. Times τ² the gradients keep their size.

# %%
teacher, student = torch.randn(8), torch.randn(8)
sizes = {}
for tau in (1.0, 4.0, 16.0):
    z = student.clone().requires_grad_()
    log_q, log_p = torch.log_softmax(z / tau, dim=0), torch.log_softmax(teacher / tau, dim=0)
    (torch.exp(log_p) * (log_p - log_q)).sum().backward()
    assert torch.allclose(z.grad, (torch.exp(log_q) - torch.exp(log_p)).detach() / tau, atol=1e-6)
    sizes[tau] = (z.grad.abs().max().item(), (z.grad * tau**2).abs().max().item())
    print(f"τ {tau:4}: largest gradient {sizes[tau][0]:.5f}, times τ² {sizes[tau][1]:.3f}")
assert sizes[16.0][0] < sizes[1.0][0] / 50 and sizes[16.0][1] > sizes[1.0][1] / 4

# %% [markdown]
# ## With the package: a teacher that can add, a student that cannot
# The teacher is trained on 40 sums. The students see its answers (hard), or its probabilities on the same texts (soft).
# `tinygrad-llm finetune distill --teacher ...` does it for whole runs, on-policy too.

# %% tags=["package"]
from tinygrad_llm.finetune import InstructionDataset, instruction_trainer
from tinygrad_llm.finetune.reasoning import SoftLoss, make_questions, right_answers, teacher_answers
from tinygrad_llm.layers.distillation import DistillationLoss
from tinygrad_llm.models import GPT, GPTConfig
from tinygrad_llm.text import CharTokenizer

questions = make_questions("sums", 81)[::2]
tokenizer = CharTokenizer.train("0123456789+=", ("<|endoftext|>",))
end = tokenizer.eot_token


def new_model(channels, layers):
    torch.manual_seed(4)
    return GPT(GPTConfig(tokenizer.vocab_size, 12, emb_dim=channels, n_heads=4, n_layers=layers, drop_rate=0.0))


def train(model, entries, steps, loss=None):
    data = InstructionDataset(entries, tokenizer, "plain")
    trainer = instruction_trainer(
        model, data, steps=steps, lr=5e-3, batch_size=20, mask_instruction=True, pad_token_id=end, progress=False
    )
    trainer.loss = loss or trainer.loss
    trainer.run(plan=False)
    return right_answers(model, tokenizer, questions, "plain", end=end, answer_tokens=3)[0].mean()


big = new_model(64, 2)
of_teacher = train(big, questions, 400)
answers = teacher_answers(big, tokenizer, questions, "plain", end=end, answer_tokens=3, keep="finished")
print(f"teacher: {of_teacher:.2f} right; {answers}")
results = {"before": right_answers(new_model(32, 1), tokenizer, questions, "plain", end=end, answer_tokens=3)[0].mean()}
results["hard"] = train(new_model(32, 1), answers.entries, 200)
results["soft"] = train(new_model(32, 1), answers.entries, 200, loss=SoftLoss(big, DistillationLoss(2.0)))
print("right answers of the student:", {k: round(float(v), 2) for k, v in results.items()})
assert of_teacher > 0.9 and min(results["hard"], results["soft"]) > results["before"]
axes[1].bar(["teacher", *results], [of_teacher, *results.values()])
axes[1].set_ylabel("right answers")
save_plot(plt.gcf(), "05_distillation")

# %% [markdown]
# ## Exercises
#
# 1. Show that hard distillation on very many answers drawn from the teacher at one place has the same gradient as soft
#    distillation with forward KL and τ = 1.
# 2. Derive the gradient of reverse KL by the student's logits, and check it with autograd.
#
# Solutions: `lessons/solutions/17_reasoning/05_distillation.py`
