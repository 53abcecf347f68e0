"""What models are made of: rotary positions, attention's cache, low-rank adapters (LoRA)."""
