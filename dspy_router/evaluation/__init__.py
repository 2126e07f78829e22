"""Compares routers: records in, figures out; knows neither torch nor dspy."""
