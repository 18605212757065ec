"""The files of a model that onnxruntime runs."""

ENCODER, DECODER, FLOW = "encoder.onnx", "decoder.onnx", "mbd.onnx"
LEVELS, ENDING = "levels.onnx", "end.onnx"  # of split codecs
QUANTIZER = "quantizer.safetensors"  # of an exported model, whose graphs hold the other weights
