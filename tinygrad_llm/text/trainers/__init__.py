"""Trainers of tokenizers: BPE, WordPiece and Unigram learned from a text, as PipelineTokenizers."""
