"""What models are made of: attention, rotary positions, norms, blocks, heads, caches, LoRA."""
