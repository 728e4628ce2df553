"""What users feel, measured: each `bench_*.py` prints one JSON object a line (name, value, unit, scale)."""
