"""What models are made of: attention's cache and low-rank adapters (LoRA)."""
