"""DECIDES: from a text to a choice of tool. Pure PyTorch, knows nothing of DSPy."""
