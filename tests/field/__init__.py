"""Faults that users met, one module for each kind: files go in; a row, one line with exit code 2 or a page comes out.

These kinds are tested in other places:
- model files that run code, are damaged or hold nonsense: tests/trust
- outputs that replace a user's files, and results that are published half-written: tests/files
- libraries that report what a user does: tests/trust/test_telemetry.py
- `make` in a clone, without git, or with a link as .venv: tests/test_pipeline.py
"""
