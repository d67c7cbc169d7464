"""Polystilts: intermediate-task training of multilingual encoders, from rows to a served ONNX model."""

__version__ = "0.1.0"
