"""What the router measures beside its peers; run by `python -m benchmarks`, not shipped in the wheel."""
