"""The help of the commands of finetune in which models learn to reason."""

from __future__ import annotations

__all__ = ["DISTILL", "GRPO"]

GRPO = """Train a model on its own answers: right ones become more likely (GRPO and its relatives).

DATA is a task made by this package, sums (the default: the 81 sums of two digits from 1 to 9),
addition, arithmetic, counting or words; where reasoning-gym is installed (pip install --no-deps
reasoning-gym==0.1.25) chain-sum, chain-sum-hard, letter-counting or products; or a .json or .jsonl
file of entries with "instruction" and "output", whose last ones are the test. A program checks each
answer; no model of rewards is needed. The answer of a text is its last \\boxed{...}, or what it
states ("the answer is 7", **7**, "3 + 4 = 7.", "it is 7."), or else its last number; the report
counts by which rule answers were read.
Without --base a small model starts at random, learns some of the answers first (--start-steps,
--start-share), and the rest from its rewards: on sums it takes a minute or a few, and more than
90 % of the 81 are right.

\b
Examples:
  tinygrad-llm finetune grpo
  tinygrad-llm finetune grpo --method reinforce --steps 600
  tinygrad-llm finetune grpo --method ppo --updates 2        # a value head beside the output layer
  tinygrad-llm finetune grpo chain-sum --base smollm2-135m-instruct --lora --answer-tokens 16 \\
      --batch-size 4 --questions 100 --test-questions 80 --lr 3e-4 --temperature 0.8 --steps 20
  tinygrad-llm finetune grpo my_questions.json --base runs/base --boxed --form-weight 0.2
  tinygrad-llm finetune grpo --resume runs/grpo-sums-1
  tinygrad-llm finetune ask runs/grpo-sums-1 "3+4="

\b
A doctor looks at every rollout (--patience): it stops a run that cannot learn and says why, such as
answers that are never finished, equal rewards in every group, a collapsed policy.

Every option can also be in a JSON or TOML file, --config FILE; the command line takes
precedence.
"""

DISTILL = """Train a student on a teacher's answers (hard), or its probabilities (soft, on-policy).

DATA is a task or a file of questions, as for finetune grpo. The teacher answers the training
questions; wrong, unfinished, too long and repeated answers are left out (--learn, --longest). The
loss counts the tokens of answers alone. soft and on-policy need one vocabulary of both; without
--base the student is a small new model with the teacher's.

\b
Examples:
  tinygrad-llm finetune distill sums --teacher runs/grpo-sums-1 --n-layers 1 --emb-dim 32
  tinygrad-llm finetune distill sums --teacher runs/grpo-sums-1 --kind soft --direction reverse
  tinygrad-llm finetune distill sums --teacher runs/grpo-sums-1 --kind on-policy
  tinygrad-llm finetune distill words --teacher smollm2-135m-instruct --samples 4 \\
      --base smollm2-135m-instruct --lora --answer-tokens 96
  tinygrad-llm finetune distill --resume runs/distill-sums-1

Every option can also be in a JSON or TOML file, --config FILE; the command line takes
precedence.
"""
