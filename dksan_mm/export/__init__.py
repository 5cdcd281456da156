"""Exports networks to ONNX files."""
