"""Faults found in the field: one test per kind of fault, not per instance."""
