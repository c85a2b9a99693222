"""Which methods to trust on this model, decided from what was measured; as rows and as a printed table."""

from typing import NamedTuple

from leyden.artifacts import CHANCE, MAX_RANDOMISATION_SIMILARITY, NOT_ABOUT_THE_MODEL, REFUSED, TRUSTED

Metrics = dict[str, float]

COLUMNS = {
    "gain": "gain",
    "deletion_auc": "deletion",
    "insertion_auc": "insertion",
    "randomisation_similarity": "randomised",
    "infidelity": "infidelity",
    "sensitivity_max": "sensitivity",
    "completeness_error": "incomplete",
}


class Verdict(NamedTuple):
    """A row of summary.csv."""

    method: str
    verdict: str
    reason: str


def decide_verdict(method: str, metrics: Metrics) -> Verdict:
    """Trust a method whose maps are significantly better than random maps, and change with the model's weights."""
    interval = f"{metrics['gain']:+.3f} ({metrics['gain_low']:+.3f} to {metrics['gain_high']:+.3f})"
    similarity = f"map similarity {metrics['randomisation_similarity']:.2f} on a randomised model"
    if metrics["gain_low"] <= 0:
        return Verdict(method, CHANCE, f"deletion and insertion compared with random maps: {interval}")
    if metrics["randomisation_similarity"] >= MAX_RANDOMISATION_SIMILARITY:
        return Verdict(
            method, NOT_ABOUT_THE_MODEL, f"{similarity}; {MAX_RANDOMISATION_SIMILARITY} or more is not trusted"
        )
    return Verdict(method, TRUSTED, f"deletion and insertion better than random maps' by {interval}; {similarity}")


def rank_verdicts(verdicts: list[Verdict], metrics: dict[str, Metrics]) -> list[Verdict]:
    """Sort the best first: the trusted ones by their gain, then the others, then the refused."""
    order = [TRUSTED, NOT_ABOUT_THE_MODEL, CHANCE, REFUSED]
    return sorted(verdicts, key=lambda row: (order.index(row.verdict), -metrics.get(row.method, {}).get("gain", 0)))


def format_table(verdicts: list[Verdict], metrics: dict[str, Metrics]) -> str:
    """Align a row for each method, and name the most trustworthy one."""
    rows = [["method", "verdict", *COLUMNS.values(), "ms an example"]]
    for method, verdict, reason in verdicts:
        measured = metrics.get(method)
        if measured is None:
            rows.append([method, f"{verdict}: {reason}"])
            continue
        cells = [f"{measured[key]:.3f}" if key in measured else "" for key in COLUMNS]
        rows.append([method, verdict, *cells, f"{measured['seconds_per_image'] * 1000:.1f}"])
    complete = [row for row in rows if len(row) > 2]
    widths = [max(len(row[column]) for row in complete) for column in range(len(rows[0]))]
    widths[0] = max(len(row[0]) for row in rows)
    lines = ["  ".join([f"{cell:<{width}}" for cell, width in zip(row, widths, strict=False)]).rstrip() for row in rows]
    best = next((row.method for row in verdicts if row.verdict == TRUSTED), None)
    return "\n".join([*lines, f"most trustworthy here: {best}" if best else "no method can be trusted here"])
