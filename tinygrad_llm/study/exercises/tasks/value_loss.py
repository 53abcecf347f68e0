"""The loss of PPO's critic: the value of a place in an answer is the reward that still comes.

`values` (B, T) are the critic's values of the tokens of B answers, `old` (B, T) those when the
answers were drawn, and `returns` (B, T) what came. A value is not to move far with one batch:
beside the plain error values − returns there is that of the value kept within `clip` of the old
one, and the larger square counts. The result is half the mean over all tokens. Schulman et al.
(2017), equation 9, with the clip of OpenAI's baselines.
"""

import tinygrad_llm as torch


def value_loss(values, old, returns, clip=0.2):
    """The mean loss of B answers of T tokens, 0-d."""
    # >>> the value near the old one, two squared errors, the larger one, half the mean
    near = old + (values - old).clamp(-clip, clip)
    return 0.5 * torch.maximum((values - returns) ** 2, (near - returns) ** 2).mean()
    # <<<
