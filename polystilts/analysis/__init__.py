"""TABLES and pictures over many runs."""

#: The recipe without an intermediate task.
BASELINE = "baseline"
