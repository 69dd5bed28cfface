"""PinLab: take the vision layer out of a Qwen3-VL, feed it pin embeddings, and see what that costs and gains."""

__version__ = "0.1.0"
