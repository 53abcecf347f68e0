"""One step of AdamW on plain arrays.

m ← β₁·m + (1 − β₁)·g        v ← β₂·v + (1 − β₂)·g²
θ ← θ − lr·λ·θ − lr·m̂/(√v̂ + ε),     m̂ = m/(1 − β₁ᵗ),     v̂ = v/(1 − β₂ᵗ)
The decay λ pulls on the weight itself and does not pass through m and v. Loshchilov and Hutter
(2017), algorithm 2.
"""

import numpy as np


def adamw_step(w, g, m, v, t, lr, beta1=0.9, beta2=0.999, eps=1e-8, decay=0.01):
    """Change w, m and v in place; t counts steps from 1."""
    # >>> m, v, decay, step; np.sqrt
    m *= beta1
    m += (1.0 - beta1) * g
    v *= beta2
    v += (1.0 - beta2) * g * g
    w -= lr * decay * w
    w -= lr * (m / (1.0 - beta1**t)) / (np.sqrt(v / (1.0 - beta2**t)) + eps)
    # <<<
