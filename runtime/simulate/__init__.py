"""The numerics of an NPU, on a laptop: what backend `onnx` does when [backend.simulate] says so."""
