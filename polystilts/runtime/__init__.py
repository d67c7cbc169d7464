"""RUN a bundle: verified folder -> ONNX Runtime -> predictions. Needs numpy, tokenizers and onnxruntime only."""
