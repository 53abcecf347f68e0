"""The help of the commands of finetune in which models learn to reason."""

from __future__ import annotations

__all__ = ["GRPO"]

GRPO = """Train a model on its own answers: right ones become more likely (GRPO and its relatives).

DATA is a task made by this package, sums (the default: the 81 sums of two digits from 1 to 9),
addition, arithmetic, counting or words, or a .json or .jsonl file of entries with "instruction" and
"output", whose last ones are the test. A program checks each answer; no model of rewards is needed.
Without --base a small model starts at random, learns the form from some of the answers
(--start-steps, --start-share), and the rest from its rewards: on sums it takes a few minutes.

\b
Examples:
  tinygrad-llm finetune grpo
  tinygrad-llm finetune grpo --method dapo --updates 2 --steps 300
  tinygrad-llm finetune grpo arithmetic --base smollm2-135m-instruct --lora --answer-tokens 48
  tinygrad-llm finetune grpo my_questions.json --base runs/base --boxed --form-weight 0.2
  tinygrad-llm finetune grpo --resume runs/grpo-sums-1
  tinygrad-llm finetune ask runs/grpo-sums-1 "3+4="

\b
A doctor looks at every rollout (--patience): it stops a run that cannot learn and says why, such as
answers that are never finished, equal rewards in every group, a collapsed policy.

Every option can also be in a JSON or TOML file, --config FILE; the command line takes
precedence.
"""
