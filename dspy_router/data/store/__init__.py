"""The file behind a decision log: how it is opened, written in batches, joined with what is learned later, and read."""
