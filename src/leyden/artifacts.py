"""What several stages share: names of files, verdicts, and thresholds.

Stages never import one another; a name that one stage writes and another reads is here. (The format of prepared data
is in `leyden.data.packed`. `fit` imports nothing from here: an edit to a threshold must not retrain.)
"""

# Files of artifacts/train
CONFIG = "config.yaml"
CURVES = "curves.csv"
PROVENANCE = "provenance.json"

METRICS = "metrics.json"  # of train, evaluate and explain

# Files of artifacts/evaluate
PREDICTIONS = "predictions.csv"
SCORE_PREFIX = "score:"  # of the columns of predictions.csv that hold each class's probability
MEASURES = "tables/measures.csv"
PER_CLASS = "tables/per_class.csv"
PER_LABEL = "tables/per_label.csv"
RELIABILITY = "tables/reliability.csv"
CALIBRATION = "tables/calibration.csv"
LARGEST_ERRORS = "errors/largest.csv"
SUSPECTS = "errors/suspects.csv"
SLICES = "errors/slices.csv"
ROBUSTNESS = "robustness/{headline}{suffix}"  # by the name of the headline measure; a table (.csv) and a plot (.png)
MASKS = "pictures/masks"
OVERLAYS = "pictures/overlays"

# Files of artifacts/export
EXPORT_REPORT = "report.json"

# Statuses of its rows: written and verified; not written; written but too different from the checkpoint, so removed.
CHECKED, SKIPPED, REFUSED = "checked", "skipped", "refused"

# Files of artifacts/explain
SUMMARY = "summary.csv"
EXAMPLES = "examples.csv"
INFLUENCE = "influence.csv"
CHANNELS = "channels.csv"
CONCEPTS = "concepts.csv"

# Scores that are better if lower; all others are better if higher.
LESS_IS_BETTER = ("log_loss", "brier_score", "calibration_error", "errors", "mean_absolute_grade_error")

# Verdicts on attribution methods, in summary.csv; a method that does not suit the network is also REFUSED
TRUSTED = "trust here"
CHANCE = "no better than chance"
NOT_ABOUT_THE_MODEL = "not about the model"

# From this rank correlation on of maps before and after the weights are randomised, a method is not trusted: its maps
# follow the image's edges as much as what the model has learned.
MAX_RANDOMISATION_SIMILARITY = 0.5
