"""The headline: whether the model is ready to ship, which only the user's requirements can define."""

from collections import Counter

from leyden.stages.report.formatting import as_sentence, join_names, plural
from leyden.stages.report.measured import AnyEvaluation
from leyden.stages.report.outcomes import FAILED, MISSING, NOT_JUDGED, UNCERTAIN, WARNING, Check


def model_verdict(checks: list[Check], evaluation: AnyEvaluation | None) -> str:
    """Return the verdict and the score that it is about, in one or two sentences."""
    if not checks:
        return "No model has been trained yet."
    score = as_sentence(evaluation.summary()) if evaluation else ""
    counts = Counter(check.outcome for check in checks)
    if counts[FAILED]:
        return f"Not ready to ship: {plural(counts[FAILED], 'check')} failed. {score}".strip()
    if counts[MISSING]:
        missing = join_names([check.title for check in checks if check.outcome == MISSING])
        return f"Not yet known whether the model is ready to ship: {missing}. {score}".strip()
    if counts[UNCERTAIN]:
        met = f"{plural(counts[UNCERTAIN], 'requirement')} {'is' if counts[UNCERTAIN] == 1 else 'are'}"
        return f"Might not be ready to ship: {met} met on the test split but might not be on another. {score}"
    if counts[NOT_JUDGED]:
        return f"{score} No requirement was set."
    if counts[WARNING]:
        return f"Ready to ship, with {plural(counts[WARNING], 'warning')}. {score}"
    return f"Ready to ship: all {len(checks)} checks passed. {score}"


def needs_advice(checks: list[Check]) -> bool:
    """Return whether the verdict is not that the model is ready to ship."""
    return any(check.outcome in (FAILED, MISSING, UNCERTAIN, NOT_JUDGED) for check in checks)
