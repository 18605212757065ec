"""Codecs without PyTorch: ONNX graphs run by onnxruntime, and a quantizer in numpy."""
