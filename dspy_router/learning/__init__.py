"""TEACHES: from examples to the weights of a router. Pure PyTorch, knows nothing of DSPy."""
