"""Acts on decisions: the only folder that knows DSPy."""
