# ---
# jupyter:
#   jupytext:
#     text_representation: {extension: .py, format_name: percent}
# ---

# %% [markdown]
# # Solutions: a tape for one number
#
# ## 1. A power
# d(xⁿ)/dx = n·xⁿ⁻¹, times the gradient that arrives. With s = a·b + c = 4 and L = s³ we get ∂L/∂s = 3·16 = 48,
# so ∂L/∂c = 48, ∂L/∂a = 48·b = −144 and ∂L/∂b = 48·a = 96.

# %%
import tinygrad_llm as torch


class Number:
    def __init__(self, value):
        self.value, self.grad = value, 0.0


tape = []


def record(value, step):
    """The output of an operation, with its step on the tape."""
    out = Number(value)
    tape.append(lambda: step(out))
    return out


def multiply(x, y):
    def step(out):
        x.grad += out.grad * y.value
        y.grad += out.grad * x.value

    return record(x.value * y.value, step)


def add(x, y):
    def step(out):
        x.grad += out.grad
        y.grad += out.grad

    return record(x.value + y.value, step)


def power(x, n):
    def step(out):
        x.grad += out.grad * n * x.value ** (n - 1)

    return record(x.value**n, step)


def backward(L):
    L.grad = 1.0
    for step in reversed(tape):
        step()


a, b, c = Number(2.0), Number(-3.0), Number(10.0)
L = power(add(multiply(a, b), c), 3)
backward(L)
print("by hand:", a.grad, b.grad, c.grad)
assert (a.grad, b.grad, c.grad) == (-144.0, 96.0, 48.0)

ta, tb, tc = (torch.tensor(v, requires_grad=True) for v in (2.0, -3.0, 10.0))
((ta * tb + tc) ** 3).backward()
assert (ta.grad.item(), tb.grad.item(), tc.grad.item()) == (a.grad, b.grad, c.grad)

# %% [markdown]
# ## 2. = in place of +=
# With one use of each number the two are the same, because every `.grad` begins at 0. In s·s two gradients
# arrive at s: the second one overwrites the first. So a test in which each number is used once cannot see the
# mistake.

# %%
def multiply_and_overwrite(x, y):
    def step(out):
        x.grad = out.grad * y.value
        y.grad = out.grad * x.value

    return record(x.value * y.value, step)


x, y, z = Number(2.0), Number(5.0), Number(4.0)
tape.clear()
backward(multiply_and_overwrite(x, y))
assert (x.grad, y.grad) == (5.0, 2.0)  # right
tape.clear()
backward(multiply_and_overwrite(z, z))
print("s·s with = in place of +=:", z.grad, "and it should be", 2 * z.value)
assert z.grad == 4.0  # half of 8
