"""What it takes to trust a decision: maps to honest probabilities, the guarantee, and what is said of both."""
