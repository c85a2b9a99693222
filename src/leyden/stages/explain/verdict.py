"""Which methods are to be trusted on this model, from what was measured; in words and in one table."""

from typing import NamedTuple

ALIKE = 0.5  # rank correlation from which on a map is as much the image's edges as what the model learned
TRUSTED, CHANCE, BLIND, REFUSED = "trust here", "no better than chance", "not about the model", "refused"

Figures = dict[str, float]


class Verdict(NamedTuple):
    """A row of summary.csv."""

    method: str
    verdict: str
    reason: str


def judge(method: str, figures: Figures) -> Verdict:
    """Trust a method whose maps beat random ones beyond noise, and change when the model forgets what it learned."""
    interval = f"{figures['gain']:+.3f} ({figures['gain_low']:+.3f} to {figures['gain_high']:+.3f})"
    alike = f"{figures['randomisation_similarity']:.2f} alike on a randomised model"
    if figures["gain_low"] <= 0:
        return Verdict(method, CHANCE, f"deletion and insertion against a random map: {interval}")
    if figures["randomisation_similarity"] >= ALIKE:
        return Verdict(method, BLIND, f"{alike}; {ALIKE} and more is not to be trusted")
    return Verdict(method, TRUSTED, f"deletion and insertion better than a random map's by {interval}; {alike}")


def ranked(verdicts: list[Verdict], metrics: dict[str, Figures]) -> list[Verdict]:
    """Put the best first: the trusted ones by their gain, then the others, then the refused."""
    order = [TRUSTED, BLIND, CHANCE, REFUSED]
    return sorted(verdicts, key=lambda row: (order.index(row.verdict), -metrics.get(row.method, {}).get("gain", 0)))


def table(verdicts: list[Verdict], metrics: dict[str, Figures]) -> str:
    """Align a row for each method, and say which to trust most."""
    keys = {
        "gain": "gain",
        "deletion_auc": "deletion",
        "insertion_auc": "insertion",
        "randomisation_similarity": "randomised",
    }
    keys |= {"infidelity": "infidelity", "sensitivity_max": "sensitivity", "completeness_error": "incomplete"}
    rows = [["method", "verdict", *keys.values(), "ms an image"]]
    for method, verdict, reason in verdicts:
        figures = metrics.get(method)
        if figures is None:
            rows.append([method, f"{verdict}: {reason}"])
            continue
        cells = [f"{figures[key]:.3f}" if key in figures else "" for key in keys]
        rows.append([method, verdict, *cells, f"{figures['seconds_per_image'] * 1000:.1f}"])
    measured = [row for row in rows if len(row) > 2]
    widths = [max(len(row[column]) for row in measured) for column in range(len(rows[0]))]
    widths[0] = max(len(row[0]) for row in rows)
    lines = ["  ".join([f"{cell:<{width}}" for cell, width in zip(row, widths, strict=False)]).rstrip() for row in rows]
    best = next((row.method for row in verdicts if row.verdict == TRUSTED), None)
    return "\n".join([*lines, f"trust most here: {best}" if best else "no method is to be trusted here"])
