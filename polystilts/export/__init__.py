"""BUNDLES: torch -> ONNX, parity, self-test."""
