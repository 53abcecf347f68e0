"""Dropout: some elements become 0, the others grow, and the expected value stays."""

from ..autograd.engine import Op


class Dropout(Op):
    """y = x·keep/(1 − p), where keep is 1 with probability 1 − p, else 0.

    Backward: ∂L/∂x = g·keep/(1 − p), with the same keep.
    The mask is an input, so that the op is deterministic: functions/dropout.py draws it (keep_mask)
    from the default generator of random/.
    Saves keep: one byte per element if it is boolean. Source: Srivastava et al. (2014).
    """

    signature = "x(...) keep(...) -> y(...)"
    in_float32 = True

    def forward(self, x, keep, p=0.5):
        one = x.dtype.type(1.0)
        scale = self.stored(one / x.dtype.type(1.0 - p)) if p < 1.0 else 0.0  # rounded as PyTorch
        self.scale = float(scale)
        self.saved = (keep,)
        y = x * keep
        y *= self.scale
        return y

    def backward(self, g):
        (keep,) = self.saved
        gx = g * keep
        gx *= self.scale
        return gx, None
