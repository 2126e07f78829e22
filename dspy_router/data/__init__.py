"""Remembers: labelled queries and tool cards in files; knows neither torch nor dspy."""
