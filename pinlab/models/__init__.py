"""Qwen3-VL full and swapped: the vision seam, prompts, the pin encoder, training, checkpoints."""
