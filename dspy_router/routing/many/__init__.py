"""MANY TOOLS: a shortlist from an index in place of a look at every tool, and what the rest is worth together."""
