"""Element by element: arithmetic with broadcasting, powers, exponentials, angles, choices.

For y = f(x) the chain rule is ∂L/∂x = g·f′(x), element by element, with g = ∂L/∂y. Where shapes
broadcast, the engine sums g over the copies afterwards.
"""

import math

from ..arrays.devices import device_of, move, quiet, xp_of
from ..arrays.special import erf
from ..autograd.engine import Op

BINARY = "x(...) y(...) -> z(...)"


class Add(Op):
    """z = x + y.   Backward: ∂L/∂x = g,   ∂L/∂y = g.   Saves nothing."""

    signature = BINARY
    broadcasts = True

    def forward(self, x, y):
        return x + y

    def backward(self, g):
        return g, g


class Sub(Op):
    """z = x − y.   Backward: ∂L/∂x = g,   ∂L/∂y = −g.   Saves nothing."""

    signature = BINARY
    broadcasts = True

    def forward(self, x, y):
        return x - y

    def backward(self, g):
        return g, -g if self.needs[1] else None


class Mul(Op):
    """z = x·y.   Backward: ∂L/∂x = g·y,   ∂L/∂y = g·x.   Saves the factor of each that asks."""

    signature = BINARY
    broadcasts = True

    def forward(self, x, y):
        self.saved = x if self.needs[1] else None, y if self.needs[0] else None
        return x * y

    def backward(self, g):
        x, y = self.saved
        return g * y if self.needs[0] else None, g * x if self.needs[1] else None


class Div(Op):
    """z = x / y.   Backward: ∂L/∂x = g / y,   ∂L/∂y = −g·z / y = −g·x / y²."""

    signature = BINARY
    broadcasts = True

    @quiet
    def forward(self, x, y):
        self.saved = x if self.needs[1] else None, y
        return x / y

    def backward(self, g):
        x, y = self.saved
        gx = g / y
        return gx if self.needs[0] else None, -gx * (x / y) if self.needs[1] else None


class Neg(Op):
    """y = −x.   Backward: ∂L/∂x = −g.   Saves nothing."""

    def forward(self, x):
        return -x

    def backward(self, g):
        return -g


class Pow(Op):
    """z = xᵖ, where x or p may be a number.

    Backward: ∂L/∂x = g·p·xᵖ⁻¹ (0 where p = 0),   ∂L/∂p = g·z·ln x (0 where x = 0 and p ≥ 0).
    """

    signature = "x(...) p(...) -> z(...)"
    broadcasts = True

    @quiet
    def forward(self, x, p):
        z = power(x, p)
        self.saved = x, p, z if self.needs[1] else None
        return z

    def backward(self, g):
        x, p, z = self.saved
        gx = gp = None
        if self.needs[0]:
            if isinstance(p, int | float):
                gx = g * (power(x, p - 1) * p) if p else g * 0.0
            else:
                gx = g * xp_of(g).where(p == 0, 0, p * power(x, p - 1)).astype(g.dtype)
        if self.needs[1]:
            xp = xp_of(g)
            zero = (x == 0) & (p >= 0)
            log_x = xp.log(xp.where(zero, 1, x)).astype(g.dtype)
            gp = g * z * log_x
        return gx, gp


def power(x, p):
    """xᵖ; 2, 3 and ½ by multiplication and root, because x**3 in float32 is 100 times slower."""
    if isinstance(p, int | float):
        if p == 2:
            return x * x
        if p == 3:
            return x * x * x
        if abs(p) == 0.5:
            root = xp_of(x).sqrt(x)
            return root if p > 0 else 1.0 / root
    return x**p


class Exp(Op):
    """y = eˣ.   Backward: ∂L/∂x = g·y.   Saves y."""

    @quiet
    def forward(self, x):
        y = xp_of(x).exp(x)
        self.saved = (y,)
        return y

    def backward(self, g):
        return g * self.saved[0]


class Expm1(Op):
    """y = eˣ − 1, exact near 0.   Backward: ∂L/∂x = g·(y + 1).   Saves y."""

    @quiet
    def forward(self, x):
        y = xp_of(x).expm1(x)
        self.saved = (y,)
        return y

    def backward(self, g):
        return g * (self.saved[0] + 1.0)


class Log(Op):
    """y = ln x.   Backward: ∂L/∂x = g / x."""

    @quiet
    def forward(self, x):
        self.saved = (x,)
        return xp_of(x).log(x)

    def backward(self, g):
        return g / self.saved[0]


class Log1p(Op):
    """y = ln(1 + x), exact near 0.   Backward: ∂L/∂x = g / (1 + x)."""

    @quiet
    def forward(self, x):
        self.saved = (x,)
        return xp_of(x).log1p(x)

    def backward(self, g):
        return g / (1.0 + self.saved[0])


class Log2(Op):
    """y = log₂ x = ln x / ln 2.   Backward: ∂L/∂x = g / (x·ln 2)."""

    @quiet
    def forward(self, x):
        self.saved = (x,)
        return xp_of(x).log2(x)

    def backward(self, g):
        return g / (self.saved[0] * math.log(2.0))


class Log10(Op):
    """y = log₁₀ x = ln x / ln 10.   Backward: ∂L/∂x = g / (x·ln 10)."""

    @quiet
    def forward(self, x):
        self.saved = (x,)
        return xp_of(x).log10(x)

    def backward(self, g):
        return g / (self.saved[0] * math.log(10.0))


class Sqrt(Op):
    """y = √x.   Backward: ∂L/∂x = g / (2y), infinite at x = 0.   Saves y."""

    @quiet
    def forward(self, x):
        y = xp_of(x).sqrt(x)
        self.saved = (y,)
        return y

    def backward(self, g):
        return g / (2.0 * self.saved[0])


class Rsqrt(Op):
    """y = 1/√x.   Backward: ∂L/∂x = −½·g·x⁻³ᐟ² = −½·g·y³.   Saves y."""

    @quiet
    def forward(self, x):
        y = 1.0 / xp_of(x).sqrt(x)
        self.saved = (y,)
        return y

    def backward(self, g):
        (y,) = self.saved
        return -0.5 * g * y * y * y


class Reciprocal(Op):
    """y = 1/x.   Backward: ∂L/∂x = −g / x² = −g·y².   Saves y."""

    @quiet
    def forward(self, x):
        y = 1.0 / x
        self.saved = (y,)
        return y

    def backward(self, g):
        (y,) = self.saved
        return -g * y * y


class Tanh(Op):
    """y = tanh x.   Backward: ∂L/∂x = g·(1 − y²).   Saves y."""

    def forward(self, x):
        y = xp_of(x).tanh(x)
        self.saved = (y,)
        return y

    def backward(self, g):
        (y,) = self.saved
        return g * (1.0 - y * y)


class Sigmoid(Op):
    """y = 1/(1 + e⁻ˣ) = e^min(x,0) / (1 + e^−|x|): neither power can overflow.

    Backward: ∂L/∂x = g·y·(1 − y).   Saves y.
    """

    def forward(self, x):
        xp = xp_of(x)
        y = xp.exp(xp.minimum(x, 0)) / (1.0 + xp.exp(-abs(x)))
        self.saved = (y,)
        return y

    def backward(self, g):
        (y,) = self.saved
        return g * (y * (1.0 - y))


class Sin(Op):
    """y = sin x.   Backward: ∂L/∂x = g·cos x."""

    def forward(self, x):
        self.saved = (x,)
        return xp_of(x).sin(x)

    def backward(self, g):
        return g * xp_of(g).cos(self.saved[0])


class Cos(Op):
    """y = cos x.   Backward: ∂L/∂x = −g·sin x."""

    def forward(self, x):
        self.saved = (x,)
        return xp_of(x).cos(x)

    def backward(self, g):
        return -g * xp_of(g).sin(self.saved[0])


class Erf(Op):
    """y = erf x = 2/√π·∫₀ˣ e^(−t²) dt.   Backward: ∂L/∂x = g·2/√π·e^(−x²)."""

    def forward(self, x):
        self.saved = (x,)
        return erf(x)

    def backward(self, g):
        (x,) = self.saved
        return g * (xp_of(g).exp(-x * x) * (2.0 / math.sqrt(math.pi)))


class Abs(Op):
    """y = |x|.   Backward: ∂L/∂x = g·sign x, which is 0 at the kink x = 0."""

    def forward(self, x):
        self.saved = (x,)
        return abs(x)

    def backward(self, g):
        return g * xp_of(g).sign(self.saved[0])


class Clamp(Op):
    """y = min(max(x, low), high), either bound may be None.

    Backward: ∂L/∂x = g where low ≤ x ≤ high, the bounds included, and 0 outside.
    """

    def forward(self, x, low=None, high=None):
        xp = xp_of(x)
        inside = xp.ones(x.shape, bool)
        y = x
        if low is not None:
            inside &= x >= low
            y = xp.maximum(y, low)
        if high is not None:
            inside &= x <= high
            y = xp.minimum(y, high)
        self.saved = (inside,)
        return y

    def backward(self, g):
        return g * self.saved[0]


class Maximum(Op):
    """z = max(x, y).   Backward: g goes to the larger; a tie gives each ½·g."""

    signature = BINARY
    broadcasts = True

    def forward(self, x, y):
        self.saved = x, y
        return xp_of(x).maximum(x, y)

    def backward(self, g):
        x, y = self.saved
        tie = 0.5 * g * (x == y)
        return g * ~(x < y) - tie, g * ~(x > y) - tie  # both, where one is nan


class Minimum(Op):
    """z = min(x, y).   Backward: g goes to the smaller; a tie gives each ½·g."""

    signature = BINARY
    broadcasts = True

    def forward(self, x, y):
        self.saved = x, y
        return xp_of(x).minimum(x, y)

    def backward(self, g):
        x, y = self.saved
        tie = 0.5 * g * (x == y)
        return g * ~(x > y) - tie, g * ~(x < y) - tie  # both, where one is nan


class Where(Op):
    """z = x where the condition holds, else y.

    Backward: ∂L/∂x = g where it holds, else 0;   ∂L/∂y the other way round.   Saves the condition.
    """

    signature = "condition(...) x(...) y(...) -> z(...)"
    broadcasts = True

    def forward(self, condition, x, y):
        self.saved = (condition,)
        return xp_of(condition).where(condition, x, y)

    def backward(self, g):
        (condition,) = self.saved
        gx = g * condition if self.needs[1] else None
        return None, gx, g * ~condition if self.needs[2] else None


class MaskedFill(Op):
    """y = value where the mask holds, else x; value is a number or a 0-d tensor.

    Backward: ∂L/∂x = g where the mask does not hold, else 0;   ∂L/∂value = Σ g over the mask.
    """

    signature = "x(...) mask(...) value(...) -> y(...)"
    broadcasts = True

    def forward(self, x, mask, value):
        self.saved = (mask,)
        return xp_of(x).where(mask, value, x).astype(x.dtype, copy=False)

    def backward(self, g):
        (mask,) = self.saved
        gv = g * mask if self.needs[2] else None
        return g * ~mask if self.needs[0] else None, None, gv


class Clone(Op):
    """y = x in memory of its own.   Backward: ∂L/∂x = g.   Saves nothing."""

    def forward(self, x):
        return x.copy()

    def backward(self, g):
        return g


class Cast(Op):
    """y = x in another dtype.   Backward: ∂L/∂x = g in x's dtype.   Saves nothing."""

    def forward(self, x, dtype):
        self.dtype = x.dtype
        return x.astype(dtype)

    def backward(self, g):
        return g.astype(self.dtype)


class Move(Op):
    """y = x on another device.   Backward: ∂L/∂x = g on x's device.   Saves nothing."""

    views = True  # if it is there already

    def forward(self, x, kind, index):
        self.home = device_of(x)
        return move(x, kind, index)

    def backward(self, g):
        return move(g, *self.home)


class Step(Op):
    """y = f(x) for a step function f (floor, ceil, round, trunc, sign).   Backward: ∂L/∂x = 0.

    Between the steps f is constant; at a step it has no derivative, and 0 is the convention.
    """

    def forward(self, x, function):
        self.function = function
        return getattr(xp_of(x), function)(x)

    def backward(self, g):
        return g * 0.0
