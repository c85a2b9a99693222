"""Statistics of scores: intervals and tests, with numpy alone."""
