"""Measurements of vsbatch-core against what people would use instead: ``python -m benchmarks``."""
