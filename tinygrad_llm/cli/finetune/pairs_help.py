"""The help of finetune nli, sts, choice, embed and rerank."""

from __future__ import annotations

__all__ = ["CHOICE", "EMBED", "NLI", "RERANK", "STS"]

_BASE = """Without --base a small BERT starts from random weights and reads characters; --base is an
encoder: all-minilm-l6-v2 (English), a run of finetune embed or of a pretrained BERT, or a folder of
weights of a BERT, RoBERTa or DistilBERT."""

_LAST = """Every option can also be in a JSON or TOML file, --config FILE; the command line takes
precedence.
"""

NLI = f"""Train on pairs of texts with labels: does the second follow from the first?

DATA is jnli (the default: 2,434 pairs of Japanese sentences, the published validation part, cut
into three parts that share no sentence), or a .csv, .tsv, .json or .jsonl file with two columns of
texts and one of labels, or sample: simple English pairs made by this package, which are also taken
if jnli cannot be downloaded. The test is shown beside the most frequent label.
{_BASE}

\b
Examples:
  tinygrad-llm finetune nli
  tinygrad-llm finetune nli sample --steps 200
  tinygrad-llm finetune nli my.tsv --first-column premise --second-column claim
  tinygrad-llm finetune nli my.tsv --base all-minilm-l6-v2 --lora --gradient-checkpointing
  tinygrad-llm finetune ask runs/nli-jnli-1 "A cat sleeps." --input "An animal sleeps."

{_LAST}"""

STS = f"""Train on pairs of texts with numbers: how similar are they?

DATA is jsts (the default: 12,451 pairs of Japanese sentences, tested on the 1,457 published ones),
or a .csv, .tsv, .json or .jsonl file with two columns of texts and one of numbers, or sample:
simple English pairs made by this package, which are also taken if jsts cannot be downloaded. The
test shows Pearson's and Spearman's correlations, beside those of the share of common pairs of
characters. From random weights it learns little from jsts: finetune embed --loss supervised does.
{_BASE}

\b
Examples:
  tinygrad-llm finetune sts
  tinygrad-llm finetune sts my.csv --label-column score --epochs 3
  tinygrad-llm finetune sts my.csv --base all-minilm-l6-v2
  tinygrad-llm finetune ask runs/sts-jsts-1 "A cat sleeps." --input "A cat is asleep."

{_LAST}"""

CHOICE = f"""Train on questions with several answers, of which one is right.

DATA is jcommonsenseqa (the default: 8,939 Japanese questions with five answers, tested on the 1,119
published ones), or a .csv, .tsv, .json or .jsonl file with a column of questions, one for each
answer, and one with the right answer's number from 0, or sample: simple English questions made by
this package, which are also taken if jcommonsenseqa cannot be downloaded. Each answer is read with
its question, and the scores of a question's answers go through one softmax.
{_BASE}

\b
Examples:
  tinygrad-llm finetune choice
  tinygrad-llm finetune choice my.csv --answer-columns a,b,c,d --label-column right
  tinygrad-llm finetune choice my.csv --base all-minilm-l6-v2 --accumulation 4 --batch-size 4
  tinygrad-llm finetune ask runs/choice-jcommonsenseqa-1 "Which is a fruit?" --input "apple|horse"

{_LAST}"""

EMBED = f"""Train vectors of sentences, whose angles say how similar texts are (SimCSE).

DATA is jsts (the default: the sentences of its training pairs), or a .csv, .tsv, .json or .jsonl
file, or sample: simple English pairs made by this package, which are also taken if jsts cannot be
downloaded. Without labels (--loss unsupervised) a text and itself are a pair: dropout makes their
vectors differ, and all other texts of the batch are the wrong answers. With them (--loss
supervised) pairs of texts that mean the same are read, and hard negatives from a column or from
the texts that look most alike. Before and after, the cosines are compared with scores that people
gave (--sts), beside the share of common pairs of characters. A file of pairs without --sts holds
questions and passages (tinygrad-llm rag questions makes one): held-out questions look for their
passages among all of them, before and after.
{_BASE}

\b
Examples:
  tinygrad-llm finetune embed
  tinygrad-llm finetune embed --loss supervised --temperature 0.1
  tinygrad-llm finetune embed texts.tsv --sts scored.tsv --base all-minilm-l6-v2
  tinygrad-llm finetune embed pairs.tsv --loss supervised --negative-column wrong --sts scored.tsv
  tinygrad-llm finetune embed questions.jsonl --loss supervised --base all-minilm-l6-v2 \\
      --first-column question --second-column passage --negative-column negative1
  tinygrad-llm finetune ask runs/embed-jsts-1 "A cat sleeps." --input "A cat is asleep."

{_LAST}"""

RERANK = f"""Train a cross-encoder, which reads a question together with a passage and scores them.

DATA is a .csv, .tsv, .json or .jsonl file with columns of questions, of right passages and of wrong
ones (tinygrad-llm rag questions makes one from an index), or sample: simple English questions made
by this package. The scores of a question's passages go through one softmax. The test shows
recall@1, MRR and nDCG beside the order by common pairs of characters. What it learned sorts the
hits of a search: tinygrad-llm rag ask "..." --rerank RUN.
{_BASE}

\b
Examples:
  tinygrad-llm rag questions rag-index --out questions.jsonl
  tinygrad-llm finetune rerank questions.jsonl --base all-minilm-l6-v2 --max-length 192
  tinygrad-llm rag ask "How long does the tea steep?" --rerank runs/rerank-questions-1
  tinygrad-llm finetune rerank my.csv --passage-column right --negative-columns wrong1,wrong2

{_LAST}"""
