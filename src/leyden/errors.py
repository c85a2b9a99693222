"""The one error that a user is meant to read."""


class UserError(Exception):
    """What was expected, what came, what to do: one line on stderr, exit code 2."""
