"""Readers of tokenizer files: each returns a PipelineTokenizer. The files are not trusted."""
