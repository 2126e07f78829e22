"""The machinery behind arguments.py: what a text says in so many words, and the prompt for what it does not."""
