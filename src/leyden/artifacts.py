"""What the stages share: names of files, verdicts, and the threshold of one verdict.

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
PER_CLASS = "per_class.csv"
CALIBRATION = "calibration.csv"
MISTAKES = "errors/mistakes.csv"
CONFUSIONS = "errors/confusions.csv"
SUSPECTS = "errors/suspects.csv"
SLICES = "errors/slices.csv"
ROBUSTNESS = "robustness/accuracy.csv"

# Files of artifacts/export
EXPORT_REPORT = "report.json"

# Files of artifacts/explain
SUMMARY = "summary.csv"
EXAMPLES = "examples.csv"
INFLUENCE = "influence.csv"
CHANNELS = "channels.csv"
CONCEPTS = "concepts.csv"

# Scores of which less is better; of all others, more is better.
LESS_IS_BETTER = ("log_loss", "brier_score", "calibration_error", "errors")

# Verdicts on attribution methods, in summary.csv
TRUSTED = "trust here"
CHANCE = "no better than chance"
NOT_ABOUT_THE_MODEL = "not about the model"
REFUSED = "refused"

# Rank correlation of a map before and after the weights are randomised; from here on, the map follows the image's edges
# as much as what the model has learned.
MAX_RANDOMISATION_SIMILARITY = 0.5
