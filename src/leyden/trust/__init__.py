"""Which model files may run code, and which are damaged. docs/trust.md lists what is checked for each format.

Nothing here imports torch: `leyden predict` runs ONNX files without it.
"""
