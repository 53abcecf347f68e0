"""Models that reason: rewards that can be verified, GRPO and its relatives, distillation.

trainer = grpo_trainer(model, tokenizer, questions, questions, end=tokenizer.eot_token)
trainer.run()                                # those of its answers that are right become likelier
ways = spend(model, tokenizer, questions, "chat", end=tokenizer.eot_token)
"""

from __future__ import annotations

from .advantages import gae, group_advantages, whitened
from .distilling import OnPolicy, SoftLoss, TeacherAnswers, teacher_answers
from .doctor import Doctor, RolloutStatistics, SickRun
from .inference import Way, plot_spending, spend, table_of, together
from .options import DistillOptions, GRPOOptions, PolicyOptions
from .rewards import is_right, judged, rewards_of
from .rollouts import Answers, RolloutOptions, Rollouts, draw_answers
from .scores import token_log_probabilities
from .tasks import ALL_TASKS, TASKS, make_questions
from .trainer import GRPOLoss, grpo_trainer, right_answers
from .voting import Vote, best_of, heuristic_score, vote

__all__ = [
    "ALL_TASKS", "TASKS", "Answers", "DistillOptions", "Doctor", "OnPolicy", "SoftLoss",
    "TeacherAnswers", "teacher_answers", "GRPOLoss", "GRPOOptions", "PolicyOptions",
    "RolloutOptions",
    "RolloutStatistics", "Rollouts", "SickRun", "Vote", "Way", "best_of", "draw_answers", "gae",
    "group_advantages", "grpo_trainer", "heuristic_score", "is_right", "judged",
    "make_questions",
    "plot_spending", "rewards_of", "right_answers", "spend", "table_of", "together",
    "token_log_probabilities",
    "vote", "whitened",
]  # fmt: skip
