"""What the stages say to one another: names of files and columns, verdicts, and the thresholds behind them."""

LESS_IS_BETTER = ("log_loss", "brier_score", "calibration_error")  # scores; of all others, more is better
