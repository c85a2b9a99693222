"""Statistics of scores: resampling, intervals and tests, with numpy alone."""
