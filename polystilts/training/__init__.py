"""WEIGHTS: encoder and heads, one loop, checkpoints, pretraining."""
