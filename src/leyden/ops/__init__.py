"""Custom operators, each next to its plain-torch reference. Imports only torch."""
