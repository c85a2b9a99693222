"""Faults that were found in the field: one test for each kind."""
