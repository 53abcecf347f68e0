# ---
# jupyter:
#   jupytext:
#     text_representation: {extension: .py, format_name: percent}
# ---

# %% [markdown]
# # 6. A whole GPT out of single numbers
#
# **Question.** Take away the tensors, NumPy and every library. What is left of a GPT and its training, and does
# it compute the same gradients as a tensor engine?
#
# **Answer.** About 160 lines: a class for one number that remembers where it came from, and functions that add
# and multiply such numbers. A tensor engine does exactly these additions and multiplications, in another order
# and many at a time. So both agree in all digits that float64 has.
#
# **For example.** With a = 2, b = 3 and y = a·b + a we have y = 8, and a reaches y by two paths, so
# ∂y/∂a = b + 1 = 4. Each number of the model below gets its gradient in this way, along thousands of paths:
#
#     a ──┬──► · ──► + ──► y          ∂y/∂a = (path through the product) b  +  (direct path) 1
#         │    ▲     ▲
#     b ──┼────┘     │
#         └──────────┘
#
# **You need.** Lesson 4, and chapter 00, lessons 1 and 2.

# %%
import inspect
import math
import random
import time

import matplotlib.pyplot as plt

import tinygrad_llm as tl
from tinygrad_llm.models import GPT, GPTConfig
from tinygrad_llm.study.lesson import save_plot

# %% [markdown]
# ## By hand, part 1: a number with a gradient
# Each number stores its inputs and, for each of them, the derivative of itself with respect to that input.
# Backward visits the newest number first (chapter 00, lesson 2) and adds `gradient · derivative` to each input.

# %%
class Number:
    __slots__ = ("value", "grad", "inputs", "derivatives", "order")
    made = 0

    def __init__(self, value, inputs=(), derivatives=()):
        self.value, self.grad = value, 0.0
        self.inputs, self.derivatives = inputs, derivatives
        Number.made += 1
        self.order = Number.made

    def __add__(self, other):
        if isinstance(other, Number):
            return Number(self.value + other.value, (self, other), (1.0, 1.0))
        return Number(self.value + other, (self,), (1.0,))

    def __mul__(self, other):
        if isinstance(other, Number):
            return Number(self.value * other.value, (self, other), (other.value, self.value))
        return Number(self.value * other, (self,), (other,))

    def __sub__(self, other):
        return self + other * -1.0

    def power(self, n):
        return Number(self.value**n, (self,), (n * self.value ** (n - 1),))

    def exp(self):
        e = math.exp(self.value)
        return Number(e, (self,), (e,))

    def log(self):
        return Number(math.log(self.value), (self,), (1 / self.value,))

    def tanh(self):
        t = math.tanh(self.value)
        return Number(t, (self,), (1 - t * t,))

    def backward(self):
        reached, stack = {self}, [self]
        while stack:
            for x in stack.pop().inputs:
                if x not in reached:
                    reached.add(x)
                    stack.append(x)
        self.grad = 1.0
        for node in sorted(reached, key=lambda node: -node.order):
            for x, derivative in zip(node.inputs, node.derivatives):
                x.grad += node.grad * derivative


a, b = Number(2.0), Number(3.0)
y = a * b + a
y.backward()
print(f"y = {y.value}, ∂y/∂a = {a.grad}, ∂y/∂b = {b.grad}")
assert (y.value, a.grad, b.grad) == (8.0, 4.0, 2.0)

# %% [markdown]
# ## By hand, part 2: the layers
# A vector is a list of numbers, a matrix is a list of rows. These are the formulas of lessons 1 to 4 of this
# chapter and of chapter 03, for one token at a time.

# %%
def total(numbers):
    first, *others = numbers
    for x in others:
        first = first + x
    return first


def dot(x, y):
    return total(p * q for p, q in zip(x, y))


def linear(x, weight, bias=None):
    y = [dot(x, row) for row in weight]  # (in) -> (out)
    return y if bias is None else [p + q for p, q in zip(y, bias)]


def softmax(x):
    largest = max(p.value for p in x)  # a constant: it changes no probability
    powers = [(p + -largest).exp() for p in x]
    share = total(powers).power(-1)
    return [e * share for e in powers]


def layer_norm(x, weight, bias, eps=1e-5):
    mean = total(x) * (1 / len(x))
    centred = [p - mean for p in x]
    r = (dot(centred, centred) * (1 / len(x)) + eps).power(-0.5)
    return [p * r * w + q for p, w, q in zip(centred, weight, bias)]


def gelu(x):
    inner = (x + x.power(3) * 0.044715) * math.sqrt(2 / math.pi)
    return x * (inner.tanh() + 1.0) * 0.5


# %% [markdown]
# ## By hand, part 3: the model
# The parameters carry the names that the package's GPT gives them, so that both can be compared. `step` reads
# one token: it appends the token's key and value to the cache, and looks only at what is there. So the future
# needs no mask.

# %%
class ScalarGPT:
    def __init__(self, V, T, C, H, L, rng):
        self.H, self.L, self.D = H, L, C // H

        def matrix(n_out, n_in, size):
            return [[Number(rng.gauss(0, size)) for _ in range(n_in)] for _ in range(n_out)]

        def vector(n, value):
            return [Number(value) for _ in range(n)]

        p = self.parameters = {"tok_emb.weight": matrix(V, C, 0.3), "pos_emb.weight": matrix(T, C, 0.1)}
        for i in range(L):
            at = f"trf_blocks.{i}."
            p |= {at + "norm1.weight": vector(C, 1.0), at + "norm1.bias": vector(C, 0.0)}
            p |= {at + "att.qkv.weight": matrix(3 * C, C, C**-0.5), at + "att.qkv.bias": vector(3 * C, 0.0)}
            p |= {at + "att.out_proj.weight": matrix(C, C, C**-0.5), at + "att.out_proj.bias": vector(C, 0.0)}
            p |= {at + "norm2.weight": vector(C, 1.0), at + "norm2.bias": vector(C, 0.0)}
            p |= {at + "ff.layers.0.weight": matrix(4 * C, C, C**-0.5), at + "ff.layers.0.bias": vector(4 * C, 0.0)}
            p |= {at + "ff.layers.2.weight": matrix(C, 4 * C, (4 * C) ** -0.5), at + "ff.layers.2.bias": vector(C, 0.0)}
        p |= {"final_norm.weight": vector(C, 1.0), "final_norm.bias": vector(C, 0.0)}
        p["out_head.weight"] = matrix(V, C, C**-0.5)

    def of(self, name):
        """The weight and the bias of a layer."""
        return self.parameters[f"{name}.weight"], self.parameters[f"{name}.bias"]

    def all(self):
        rows = (r if isinstance(r, list) else [r] for table in self.parameters.values() for r in table)
        return [number for row in rows for number in row]

    def step(self, token, cache):
        """The scores of the next token, after one more token: cache is a list of L pairs of lists."""
        place = len(cache[0][0])
        tokens, places = self.parameters["tok_emb.weight"], self.parameters["pos_emb.weight"]
        x = [p + q for p, q in zip(tokens[token], places[place])]  # (C)
        for i in range(self.L):
            at = f"trf_blocks.{i}."
            x = self.add(x, self.attention(layer_norm(x, *self.of(at + "norm1")), at, *cache[i]))
            h = linear(layer_norm(x, *self.of(at + "norm2")), *self.of(at + "ff.layers.0"))  # (C) -> (4C)
            x = self.add(x, linear([gelu(p) for p in h], *self.of(at + "ff.layers.2")))  # (4C) -> (C)
        return linear(layer_norm(x, *self.of("final_norm")), self.parameters["out_head.weight"])  # (C) -> (V)

    def attention(self, x, at, keys, values):
        C, D = self.H * self.D, self.D
        qkv = linear(x, *self.of(at + "att.qkv"))  # (C) -> (3C)
        keys.append(qkv[C : 2 * C])
        values.append(qkv[2 * C :])
        result = []
        for head in range(0, C, D):
            q = qkv[head : head + D]
            weights = softmax([dot(q, k[head : head + D]) * D**-0.5 for k in keys])
            result += [dot(weights, [v[c] for v in values]) for c in range(head, head + D)]
        return linear(result, *self.of(at + "att.out_proj"))  # (C) -> (C)

    @staticmethod
    def add(x, y):
        return [p + q for p, q in zip(x, y)]

    def new_cache(self):
        return [([], []) for _ in range(self.L)]

    def loss(self, ids):
        """The mean of −ln p of each token after the first."""
        cache, terms = self.new_cache(), []
        for token, target in zip(ids, ids[1:]):
            terms.append(softmax(self.step(token, cache))[target].log())
        return total(terms) * (-1 / len(terms))


# %% [markdown]
# ## Data and training
# The words of the numbers from one to twenty. A dot begins and ends each word. AdamW is the one of chapter 00,
# lesson 12, without weight decay.

# %%
WORDS = ("one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen sixteen "
         "seventeen eighteen nineteen twenty").split()
LETTERS = sorted({*"".join(WORDS)} | {"."})
rng = random.Random(42)
V, T, C, H, L = len(LETTERS), 10, 8, 2, 1
model = ScalarGPT(V, T, C, H, L, rng)


def ids_of(word):
    return [LETTERS.index(letter) for letter in f".{word}."]


def train(model, steps, lr=0.02, beta1=0.9, beta2=0.99):
    numbers = model.all()
    m, v = [0.0] * len(numbers), [0.0] * len(numbers)
    losses = []
    for t in range(1, steps + 1):
        for number in numbers:
            number.grad = 0.0
        loss = model.loss(ids_of(rng.choice(WORDS)))
        loss.backward()
        rate = lr * (1 - (t - 1) / steps)  # down to zero in a straight line
        for i, number in enumerate(numbers):
            m[i] = beta1 * m[i] + (1 - beta1) * number.grad
            v[i] = beta2 * v[i] + (1 - beta2) * number.grad**2
            number.value -= rate * (m[i] / (1 - beta1**t)) / (math.sqrt(v[i] / (1 - beta2**t)) + 1e-8)
        losses.append(loss.value)
    return losses


def write(model, temperature=0.5):
    """One word, letter by letter."""
    cache, text, token = model.new_cache(), "", LETTERS.index(".")
    while len(text) < T:
        p = softmax([score * (1 / temperature) for score in model.step(token, cache)])
        token = rng.choices(range(V), [x.value for x in p])[0]
        if LETTERS[token] == ".":
            break
        text += LETTERS[token]
    return text


first = model.loss(ids_of("seven")).value
print(f"{len(model.all())} parameters; the shape of a word is ({len(ids_of('seven'))},), of its scores ({V},)")
print(f"loss before training {first:.2f}, and ln {V} = {math.log(V):.2f}")
start, before = time.perf_counter(), Number.made
losses = train(model, 60)
seconds, made = time.perf_counter() - start, Number.made - before
print("loss of the last 20 steps:", round(sum(losses[-20:]) / 20, 2))
print("it writes:", " ".join(write(model) for _ in range(8)))
assert abs(first - math.log(V)) < 1.5 and sum(losses[-20:]) / 20 < 0.8 * sum(losses[:10]) / 10

# %% [markdown]
# ## With the package: the same numbers from tensors
# The package's GPT takes the trained numbers by their names. In float64 loss and gradients must agree in all
# digits: the largest difference may be 1e-12 of the largest gradient of each parameter.

# %%
def values_of(table):
    return [values_of(row) for row in table] if isinstance(table, list) else table.value


def gradients_of(table):
    return [gradients_of(row) for row in table] if isinstance(table, list) else table.grad


gpt = GPT(GPTConfig(vocab_size=V, context_length=T, emb_dim=C, n_heads=H, n_layers=L, drop_rate=0.0,
                    tie_weights=False)).double()  # fmt: skip
state = {name: tl.tensor(values_of(table), dtype=tl.float64) for name, table in model.parameters.items()}
print(gpt.load_state_dict(state))

worst = {}
scalar, tensors = [], []
for word in ("seventeen", "two"):
    for number in model.all():
        number.grad = 0.0
    gpt.zero_grad()
    by_hand = model.loss(ids_of(word))
    by_hand.backward()
    ids = tl.tensor([ids_of(word)])  # (1, T)
    loss = gpt.loss(ids[:, :-1], ids[:, 1:])
    loss.backward()
    assert abs(loss.item() - by_hand.value) < 1e-12 * by_hand.value
    for name, parameter in gpt.named_parameters():
        ours = tl.tensor(gradients_of(model.parameters[name]), dtype=tl.float64)
        largest = parameter.grad.abs().max().item()
        difference = (parameter.grad - ours).abs().max().item()
        # the bias of the keys moves all scores of a row together: its true gradient is zero
        worst[name] = max(worst.get(name, 0.0), difference / largest)
        scalar += ours.flatten().tolist()
        tensors += parameter.grad.flatten().tolist()
print(f"{len(scalar)} gradients compared; largest difference, relative to its parameter: {max(worst.values()):.1e}")
assert max(worst.values()) < 1e-12

# %% [markdown]
# What do tensors buy? Not other numbers: fewer Python objects. One training step of the scalar model makes
# about sixteen thousand `Number`s, and a GPT-2 of 124 million parameters would make several hundred million for
# one token.

# %%
if "__file__" in globals():  # a notebook has no file to count lines in
    parts = (Number, total, dot, linear, softmax, layer_norm, gelu, ScalarGPT, train, write)
    code = sum(len(inspect.getsource(part).splitlines()) for part in parts)
    print(f"numbers, layers, model, training and writing: {code} lines")
    assert code <= 200
print(f"numbers made per step: about {made // 60:,}")

figure, axes = plt.subplots(1, 2, figsize=(9.5, 3.8))
axes[0].plot(losses, ".", ms=3, label="one word each")
axes[0].plot(range(9, 60), [sum(losses[i - 9 : i + 1]) / 10 for i in range(9, 60)], label="mean of ten")
axes[0].axhline(math.log(V), c="k", lw=0.6, label=f"a uniform guess: ln {V}")
axes[0].set_xlabel("step"), axes[0].set_ylabel("loss, nats per letter"), axes[0].legend(fontsize=8)
axes[1].plot(tensors, scalar, ".", ms=3)
limits = [min(tensors), max(tensors)]
axes[1].plot(limits, limits, "k-", lw=0.6)
axes[1].set_xlabel("gradient from tensors"), axes[1].set_ylabel("gradient from single numbers")
save_plot(figure, "06_scalar_gpt")

# %% [markdown]
# ## Exercises
# 1. Count the products and the additions of one `linear` layer with n inputs and m outputs, and compare with the
#    2·n·m operations of lesson 4.
# 2. `softmax` treats the largest score as a constant. Make it a part of the graph instead (subtract the Number). Does a
#    gradient change? Say why before you try it.
# 3. Share the token embedding and the output layer: `out_head.weight` is the same list as `tok_emb.weight`. What must
#    change in `backward`, what in `all`, and by how much does the number of parameters fall?
#
# Solutions: `lessons/solutions/04_gpt/06_scalar_gpt.py`
