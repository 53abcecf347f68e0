"""Exponentials, logarithms, roots, hyperbolic and trigonometric functions, element by element.

For y = f(x) the chain rule is ∂L/∂x = g·f′(x), element by element, with g = ∂L/∂y.
"""

import math

from ..arrays.devices import xp_of
from ..arrays.special import erf, erf_of_half
from ..autograd.engine import Op
from .arithmetic import power


class Exp(Op):
    """y = eˣ.   Backward: ∂L/∂x = g·y.   Saves y."""

    in_float32 = True

    def forward(self, x):
        y = xp_of(x).exp(x)
        self.saved = (y,)
        return y

    def backward(self, g):
        return g * self.saved[0]


class Expm1(Op):
    """y = eˣ − 1, exact near 0.   Backward: ∂L/∂x = g·(y + 1).   Saves y."""

    in_float32 = True

    def forward(self, x):
        y = xp_of(x).expm1(x)
        self.saved = (y,)
        return y

    def backward(self, g):
        return g * self.stored(self.saved[0] + 1.0)


class Log(Op):
    """y = ln x.   Backward: ∂L/∂x = g / x.   Saves x."""

    in_float32 = True

    def forward(self, x):
        self.saved = (x,)
        return xp_of(x).log(x)

    def backward(self, g):
        return g / self.saved[0]


class Log1p(Op):
    """y = ln(1 + x), exact near 0.   Backward: ∂L/∂x = g / (1 + x).   Saves x."""

    in_float32 = True

    def forward(self, x):
        self.saved = (x,)
        return xp_of(x).log1p(x)

    def backward(self, g):
        return g / self.stored(1.0 + self.saved[0])


class Log2(Op):
    """y = log₂ x = ln x / ln 2.   Backward: ∂L/∂x = g / (x·ln 2).   Saves x."""

    in_float32 = True

    def forward(self, x):
        self.saved = (x,)
        return xp_of(x).log2(x)

    def backward(self, g):
        return g / self.stored(self.saved[0] * math.log(2.0))


class Log10(Op):
    """y = log₁₀ x = ln x / ln 10.   Backward: ∂L/∂x = g / (x·ln 10).   Saves x."""

    in_float32 = True

    def forward(self, x):
        self.saved = (x,)
        return self.precise(xp_of(x).log10, x)

    def backward(self, g):
        return g / self.stored(self.saved[0] * math.log(10.0))


class Sqrt(Op):
    """y = √x.   Backward: ∂L/∂x = g / (2y), infinite at x = 0.   Saves y."""

    in_float32 = True

    def forward(self, x):
        y = xp_of(x).sqrt(x)
        self.saved = (y,)
        return y

    def backward(self, g):
        return g / (2.0 * self.saved[0])


class Rsqrt(Op):
    """y = 1/√x.   Backward: ∂L/∂x = −½·g·x⁻³ᐟ² = −½·g·y³.   Saves y."""

    in_float32 = True

    def forward(self, x):
        y = 1.0 / xp_of(x).sqrt(x)
        self.saved = (y,)
        return y

    def backward(self, g):
        (y,) = self.saved
        return -0.5 * g * self.stored(power(y, 3, self.stored))


class Tanh(Op):
    """y = tanh x.   Backward: ∂L/∂x = g·(1 − y²).   Saves y."""

    in_float32 = True

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

    in_float32 = True

    def forward(self, x):
        xp = xp_of(x)
        y = xp.exp(xp.minimum(x, 0)) / (1.0 + xp.exp(-abs(x)))
        self.saved = (y,)
        return y

    def backward(self, g):
        (y,) = self.saved
        not_y = self.stored(1.0 - y, "float16")
        return self.stored(g * not_y, "float16") * y


class Sin(Op):
    """y = sin x.   Backward: ∂L/∂x = g·cos x.   Saves x."""

    in_float32 = True

    def forward(self, x):
        self.saved = (x,)
        return xp_of(x).sin(x)

    def backward(self, g):
        return g * self.stored(xp_of(g).cos(self.saved[0]))


class Cos(Op):
    """y = cos x.   Backward: ∂L/∂x = −g·sin x.   Saves x."""

    in_float32 = True

    def forward(self, x):
        self.saved = (x,)
        return xp_of(x).cos(x)

    def backward(self, g):
        return -g * self.stored(xp_of(g).sin(self.saved[0]))


class Erf(Op):
    """y = erf x = 2/√π·∫₀ˣ e^(−t²) dt.   Backward: ∂L/∂x = g·2/√π·e^(−x²).   Saves x."""

    in_float32 = True

    def forward(self, x):
        self.saved = (x,)
        return erf(x) if self.half is None else erf_of_half(x)

    def backward(self, g):
        (x,) = self.saved
        bell = self.stored(xp_of(g).exp(-self.stored(x * x)))
        return g * self.stored(bell * (2.0 / math.sqrt(math.pi)))
