"""The page of the options of training, tinygrad_llm/training/OPTIONS.md, from their declarations.

python tests/option_page.py          writes it; a test compares it
"""

from __future__ import annotations

import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
PAGE = ROOT / "tinygrad_llm" / "training" / "OPTIONS.md"

HEAD = """# The options of training

Each option is declared once, in a dataclass; the keywords in Python, the flags of the command line
(`--batch-size` for `batch_size`) and the names in a `--config` file follow from it. A name in
parentheses is the one of the command line and of files. `python tests/option_page.py` writes this
page.

    Trainer(model, optimizer, batches, steps=500, folder="runs/a")
    instruction_trainer(model, train_set, validation_set, epochs=2, lr=1e-4)
    tinygrad-llm finetune instruct --epochs 2 --lr 1e-4 --base runs/a

"""


def page() -> str:
    """The text of the page."""
    from tinygrad_llm.finetune.embedding.options import EmbeddingTuningOptions, EmbedOptions
    from tinygrad_llm.finetune.options import (
        AdaptationOptions,
        ClassificationOptions,
        ClassifyOptions,
        DPOOptions,
        InstructionOptions,
        InstructOptions,
        PreferenceOptions,
        TuningOptions,
    )
    from tinygrad_llm.finetune.pairs.options import (
        ChoiceOptions,
        EncoderOptions,
        NLIOptions,
        PairTuningOptions,
        RerankOptions,
        STSOptions,
    )
    from tinygrad_llm.finetune.reasoning.options import (
        DistillOptions,
        GRPOOptions,
        PolicyOptions,
        QuestionOptions,
    )
    from tinygrad_llm.finetune.sequences.options import SequenceOptions
    from tinygrad_llm.finetune.summaries.options import SummarizeOptions
    from tinygrad_llm.finetune.tagging.options import NerOptions
    from tinygrad_llm.finetune.translation.options import TranslateOptions
    from tinygrad_llm.training.devices import MachineOptions
    from tinygrad_llm.training.options import TrainingOptions
    from tinygrad_llm.training.presets import PretrainOptions
    from tinygrad_llm.training.scaling.sweep import SweepOptions
    from tinygrad_llm.training.search.options import SearchOptions
    from tinygrad_llm.training.settings import options_table

    shared = (AdaptationOptions, MachineOptions)
    sections = [
        ("`Trainer`", TrainingOptions, (), ""),
        (
            "`tinygrad-llm pretrain`", PretrainOptions, (TrainingOptions,),
            "Those of `Trainer`, and these. The defaults are the preset `small`.",
        ),
        (
            "All trainers of `finetune`", TuningOptions, (TrainingOptions,),
            "Those of `Trainer`, and these.",
        ),
        ("`classification_trainer`", ClassificationOptions, (TuningOptions,), "In addition:"),
        ("`instruction_trainer`", InstructionOptions, (TuningOptions,), "In addition:"),
        ("`preference_trainer`", PreferenceOptions, (TuningOptions,), "In addition:"),
        ("`sequence_trainer`", SequenceOptions, (TuningOptions,), "In addition:"),
        ("All commands of `finetune`: what is trained", AdaptationOptions, (), ""),
        ("All commands: where", MachineOptions, (), ""),
        (
            "`tinygrad-llm finetune classify`", ClassifyOptions, (ClassificationOptions, *shared),
            "Those of `classification_trainer` and of all commands, and these.",
        ),
        (
            "`tinygrad-llm finetune instruct`", InstructOptions, (InstructionOptions, *shared),
            "Those of `instruction_trainer` and of all commands, and these.",
        ),
        (
            "`tinygrad-llm finetune dpo`", DPOOptions, (PreferenceOptions, *shared),
            "Those of `preference_trainer` and of all commands, and these.",
        ),
        (
            "`pair_trainer`", PairTuningOptions, (TuningOptions,), "In addition:",
        ),
        (
            "`embedding_trainer`", EmbeddingTuningOptions, (PairTuningOptions,),
            "Those of `pair_trainer`, and:",
        ),
        (
            "`tinygrad-llm finetune nli`, `sts`, `choice`, `rerank`, `embed`: the encoder",
            EncoderOptions, (), "",
        ),
        *(
            (
                f"`tinygrad-llm finetune {name}`", kind, (parent, EncoderOptions, *shared),
                f"Those of `{trainer}`, of the encoder and of all commands, and these.",
            )
            for name, kind, parent, trainer in (
                ("nli", NLIOptions, PairTuningOptions, "pair_trainer"),
                ("sts", STSOptions, PairTuningOptions, "pair_trainer"),
                ("choice", ChoiceOptions, PairTuningOptions, "pair_trainer"),
                ("rerank", RerankOptions, PairTuningOptions, "pair_trainer"),
                ("embed", EmbedOptions, EmbeddingTuningOptions, "embedding_trainer"),
            )
        ),
        (
            "`tinygrad-llm finetune ner`", NerOptions, (TuningOptions, *shared),
            "Those of all trainers of `finetune` and of all commands, and these.",
        ),
        (
            "`tinygrad-llm finetune translate`", TranslateOptions, (SequenceOptions, *shared),
            "Those of `sequence_trainer` and of all commands, and these.",
        ),
        (
            "`tinygrad-llm finetune summarize`", SummarizeOptions, (SequenceOptions, *shared),
            "Those of `sequence_trainer` and of all commands, and these.",
        ),
        ("`grpo_trainer`", PolicyOptions, (TuningOptions,), "Those of all trainers, and these."),
        (
            "`tinygrad-llm finetune grpo`", GRPOOptions, (PolicyOptions, *shared),
            "Those of `grpo_trainer` and of all commands, and these.",
        ),
        (
            "`tinygrad-llm finetune distill`", DistillOptions,
            (TuningOptions, QuestionOptions, *shared),
            "Those of all trainers, of all commands and of `finetune grpo`, and these.",
        ),
        (
            "`tinygrad-llm search`", SearchOptions, (),
            "Those of the command that is searched, with ranges and choices, and these.",
        ),
        ("`tinygrad-llm sweep`", SweepOptions, (), ""),
    ]  # fmt: skip
    parts = []
    for title, kind, without, text in sections:
        lead = f"{text}\n\n" if text else ""
        parts.append(f"## {title}\n\n{lead}{options_table(kind, *without)}")
    return HEAD + "\n".join(parts)


if __name__ == "__main__":
    sys.path.insert(0, str(ROOT))
    PAGE.write_text(page(), encoding="utf-8")
