"""Models that reason: rewards that can be verified, GRPO and its relatives, distillation."""

from __future__ import annotations

from .advantages import gae, group_advantages, value_loss

__all__ = ["gae", "group_advantages", "value_loss"]
