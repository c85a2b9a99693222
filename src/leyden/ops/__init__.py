"""Custom operators, each beside its plain-torch reference. Imports torch only."""
