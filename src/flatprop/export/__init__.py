"""Networks written down: files, C, ONNX, HTML; and files read back, whatever they say."""
