"""Models: one file each, its config dataclass first."""

from __future__ import annotations

from ..layers.cache import Cache
from ..weights.families import bert as bert_names
from ..weights.families import cohere2 as cohere2_names
from ..weights.families import distilbert as distilbert_names
from ..weights.families import gemma3 as gemma3_names
from ..weights.families import gpt2
from ..weights.families import llama as llama_names
from ..weights.families import modernbert as modernbert_names
from ..weights.families import olmo3 as olmo3_names
from ..weights.families import qwen2 as qwen2_names
from ..weights.families import qwen3 as qwen3_names
from ..weights.families import qwen3_5 as qwen3_5_names
from ..weights.families import qwen3_moe as qwen3_moe_names
from ..weights.families import roberta as roberta_names
from ..weights.families import t5 as t5_names
from . import registry
from .base import LanguageModel, Model, ModelConfig
from .bert import (
    DISTILBERT_PRESETS,
    ROBERTA_PRESETS,
    Bert,
    BertConfig,
    BertForMaskedLM,
    BertForSequenceClassification,
    BertForTokenClassification,
    DistilBert,
    DistilBertConfig,
    DistilBertForMaskedLM,
    DistilBertForSequenceClassification,
    DistilBertForTokenClassification,
    Roberta,
    RobertaConfig,
    RobertaForMaskedLM,
    RobertaForSequenceClassification,
    RobertaForTokenClassification,
)
from .bert import PRESETS as BERT_PRESETS
from .classifier import GPTClassifier, GPTClassifierConfig
from .cohere2 import PRESETS as COHERE2_PRESETS
from .cohere2 import Cohere2, Cohere2Config
from .decoder import Decoder
from .gemma3 import PRESETS as GEMMA3_PRESETS
from .gemma3 import Gemma3, Gemma3Config
from .gpt import GPT, GPTConfig
from .gpt import PRESETS as GPT_PRESETS
from .llama import PRESETS as LLAMA_PRESETS
from .llama import Llama, LlamaConfig
from .modernbert import PRESETS as MODERNBERT_PRESETS
from .modernbert import (
    ModernBert,
    ModernBertConfig,
    ModernBertForMaskedLM,
    ModernBertForSequenceClassification,
    ModernBertForTokenClassification,
)
from .olmo3 import PRESETS as OLMO3_PRESETS
from .olmo3 import Olmo3, Olmo3Config
from .pretrained import (
    PRETRAINED,
    build_gpt2,
    from_pretrained,
    language_model,
    load_gpt2,
    save_pretrained,
)
from .qwen2 import PRESETS as QWEN2_PRESETS
from .qwen2 import Qwen2, Qwen2Config
from .qwen3 import PRESETS as QWEN3_PRESETS
from .qwen3 import Qwen3, Qwen3Config
from .qwen3_5 import PRESETS as QWEN35_PRESETS
from .qwen3_5 import Qwen35, Qwen35Config
from .qwen3_moe import PRESETS as QWEN3_MOE_PRESETS
from .qwen3_moe import Qwen3Moe, Qwen3MoeConfig
from .sentence import SentenceEncoder, SentenceEncoderConfig
from .t5 import PRESETS as T5_PRESETS
from .t5 import T5, T5Config
from .tagger import Tagger, TaggerConfig
from .transformer import PRESETS as TRANSFORMER_PRESETS
from .transformer import Transformer, TransformerConfig
from .vocabulary import resize_vocabulary

registry.register(GPT, GPTConfig, names=gpt2, load=load_gpt2, files=PRETRAINED, presets=GPT_PRESETS)
registry.register(Llama, LlamaConfig, names=llama_names, presets=LLAMA_PRESETS)
registry.register(Qwen2, Qwen2Config, names=qwen2_names, presets=QWEN2_PRESETS)
registry.register(Qwen3, Qwen3Config, names=qwen3_names, presets=QWEN3_PRESETS)
registry.register(Cohere2, Cohere2Config, names=cohere2_names, presets=COHERE2_PRESETS)
registry.register(Gemma3, Gemma3Config, names=gemma3_names, presets=GEMMA3_PRESETS)
registry.register(Olmo3, Olmo3Config, names=olmo3_names, presets=OLMO3_PRESETS)
registry.register(Qwen35, Qwen35Config, names=qwen3_5_names, presets=QWEN35_PRESETS)
registry.register(Qwen3Moe, Qwen3MoeConfig, names=qwen3_moe_names, presets=QWEN3_MOE_PRESETS)
registry.register(BertForMaskedLM, BertConfig, names=bert_names, presets=BERT_PRESETS)
registry.register(RobertaForMaskedLM, RobertaConfig, names=roberta_names,
                  presets=ROBERTA_PRESETS)  # fmt: skip
registry.register(DistilBertForMaskedLM, DistilBertConfig, names=distilbert_names,
                  presets=DISTILBERT_PRESETS)  # fmt: skip
registry.register(ModernBertForMaskedLM, ModernBertConfig, names=modernbert_names,
                  presets=MODERNBERT_PRESETS)  # fmt: skip
without_head = bert_names.without_head
with_classes = bert_names.with_classes
registry.register(Bert, BertConfig, names=without_head(bert_names, "BertModel"))
registry.register(
    BertForSequenceClassification, BertConfig,
    names=with_classes(bert_names, "BertForSequenceClassification", table=bert_names.TEXTS),
)  # fmt: skip
registry.register(
    BertForTokenClassification, BertConfig,
    names=with_classes(bert_names, "BertForTokenClassification"),
)  # fmt: skip
registry.register(Roberta, RobertaConfig, names=without_head(roberta_names, "RobertaModel"))
registry.register(
    RobertaForSequenceClassification, RobertaConfig,
    names=with_classes(roberta_names, "RobertaForSequenceClassification",
                       "XLMRobertaForSequenceClassification", table=roberta_names.TEXTS),
)  # fmt: skip
registry.register(
    RobertaForTokenClassification, RobertaConfig,
    names=with_classes(roberta_names, "RobertaForTokenClassification",
                       "XLMRobertaForTokenClassification"),
)  # fmt: skip
registry.register(
    DistilBert, DistilBertConfig, names=without_head(distilbert_names, "DistilBertModel")
)
registry.register(
    DistilBertForSequenceClassification, DistilBertConfig,
    names=with_classes(distilbert_names, "DistilBertForSequenceClassification",
                       table=distilbert_names.TEXTS),
)  # fmt: skip
registry.register(
    DistilBertForTokenClassification, DistilBertConfig,
    names=with_classes(distilbert_names, "DistilBertForTokenClassification"),
)  # fmt: skip
registry.register(
    ModernBert, ModernBertConfig, names=without_head(modernbert_names, "ModernBertModel")
)
registry.register(
    ModernBertForSequenceClassification, ModernBertConfig,
    names=with_classes(modernbert_names, "ModernBertForSequenceClassification",
                       kept=("transform.",)),
)  # fmt: skip
registry.register(
    ModernBertForTokenClassification, ModernBertConfig,
    names=with_classes(modernbert_names, "ModernBertForTokenClassification", kept=("transform.",)),
)  # fmt: skip
registry.register(T5, T5Config, names=t5_names, presets=T5_PRESETS)
registry.register(Transformer, TransformerConfig, presets=TRANSFORMER_PRESETS)
registry.register(GPTClassifier, GPTClassifierConfig)
registry.register(SentenceEncoder, SentenceEncoderConfig)
registry.register(Tagger, TaggerConfig)

__all__ = [
    "Bert",
    "BertConfig",
    "BertForMaskedLM",
    "BertForSequenceClassification",
    "BertForTokenClassification",
    "DistilBert",
    "DistilBertConfig",
    "DistilBertForMaskedLM",
    "DistilBertForSequenceClassification",
    "DistilBertForTokenClassification",
    "ModernBert",
    "ModernBertConfig",
    "ModernBertForMaskedLM",
    "ModernBertForSequenceClassification",
    "ModernBertForTokenClassification",
    "Roberta",
    "RobertaConfig",
    "RobertaForMaskedLM",
    "RobertaForSequenceClassification",
    "RobertaForTokenClassification",
    "SentenceEncoder",
    "SentenceEncoderConfig",
    "T5",
    "T5Config",
    "Tagger",
    "TaggerConfig",
    "Transformer",
    "TransformerConfig",
    "GPT",
    "GPTClassifier",
    "GPTClassifierConfig",
    "GPTConfig",
    "Cache",
    "Cohere2",
    "Cohere2Config",
    "Gemma3",
    "Gemma3Config",
    "Olmo3",
    "Olmo3Config",
    "Qwen35",
    "Qwen35Config",
    "Qwen3Moe",
    "Qwen3MoeConfig",
    "Decoder",
    "LanguageModel",
    "Llama",
    "LlamaConfig",
    "Model",
    "ModelConfig",
    "Qwen2",
    "Qwen2Config",
    "Qwen3",
    "Qwen3Config",
    "build_gpt2",
    "from_pretrained",
    "language_model",
    "load_gpt2",
    "registry",
    "resize_vocabulary",
    "save_pretrained",
]
