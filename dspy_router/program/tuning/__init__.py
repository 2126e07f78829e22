"""The machinery behind the optimizers: rollouts, what they cost, who lost what, turns of router and prompts."""
