"""Search for the layers that a quantised file must keep in float32 to agree with the checkpoint."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from leyden.cost import announce_cost
from leyden.runtimes.examples import Examples
from leyden.stages.export.agreement import Comparison, Tolerance
from leyden.stages.export.export_request import Candidates, Quantisation
from leyden.stages.export.verification import run_step

MAX_GROUPS = 64  # of consecutive layers, where there are more layers; each costs a run
MAX_FLOAT32_FRACTION = 0.5  # of the groups; with more, the file would hardly be an 8-bit one
# The search stops here and not at the tolerance, so that test examples, which the search does not see, pass as well.
TARGET = 0.5


@dataclass
class LayerSearch:
    """Candidates, measured on validation examples; the file that is chosen is verified on test examples.

    Args:
        name: Name of the file, for messages.
        candidates: What can be tried.
        examples: Validation examples to run the candidates on.
        comparison: With the checkpoint's outputs for them.
        tolerance: The tolerance to meet.
    """

    name: str
    candidates: Candidates
    examples: Examples
    comparison: Comparison
    tolerance: Tolerance
    num_runs: int = 0

    def find(self) -> Quantisation | None:
        """Find the quantisation with the fewest layers in float32 that meets the tolerance with a margin.

        First the methods of calibration are tried; then the layers are ranked by the error that each causes if it alone
        is quantised, and the number of the worst that stay in float32 is bisected. Of n groups of layers, this takes at
        most n + log2(n) + 3 runs.

        Returns:
            If none has the margin, the nearest one that meets the tolerance; None if there is none.
        """
        tried = [self._measure(Quantisation(calibration)) for calibration in self.candidates.calibrations]
        best = min(tried, key=lambda candidate: candidate.used)
        if best.used > TARGET:
            tried += self._bisect(self._rank(best.quantisation.calibration), best.quantisation.calibration)
        within = [candidate for candidate in tried if candidate.used <= TARGET]
        if within:
            return min(within, key=lambda candidate: len(candidate.quantisation.float32_layers)).quantisation
        best = min(tried, key=lambda candidate: candidate.used)
        return best.quantisation if best.used <= 1 else None

    def _rank(self, calibration: str) -> list[list[str]]:
        """Rank groups of layers, the most harmful first."""
        layers = self.candidates.layers
        groups = [list(part) for part in np.array_split(layers, min(len(layers), MAX_GROUPS))] if layers else []
        errors = []
        what = f"{self.name}: searching {len(groups)} groups of layers for those to keep in float32"
        for group in announce_cost(groups, "export", what):
            others = tuple(layer for layer in layers if layer not in group)
            errors.append(self._measure(Quantisation(calibration, others)).error)
        return [groups[index] for index in np.argsort(errors, kind="stable")[::-1]]

    def _bisect(self, ranked: list[list[str]], calibration: str) -> "Iterator[Measured]":
        """Yield candidates that keep the worst groups in float32, for fewer groups after one that meets the target."""
        low, high = 1, int(len(ranked) * MAX_FLOAT32_FRACTION)
        count = high
        while low <= high:
            layers = tuple(layer for group in ranked[:count] for layer in group)
            yield (candidate := self._measure(Quantisation(calibration, layers)))
            if candidate.used <= TARGET:
                high = count - 1
            else:
                low = count + 1
            count = (low + high) // 2

    def _measure(self, quantisation: Quantisation) -> "Measured":
        self.num_runs += 1
        outputs = run_step(self.candidates.build(quantisation), self.examples)
        agreement = float(self.comparison.agreement(outputs).mean())
        error = self.comparison.mean_squared_error(outputs)
        used = self.tolerance.used_fraction(self.comparison.relative_diff(outputs), agreement)
        return Measured(quantisation, used, error if np.isfinite(error) else np.inf)


@dataclass(frozen=True)
class Measured:
    """A candidate, the fraction of the tolerance that it uses up, and its outputs' mean squared error."""

    quantisation: Quantisation
    used: float
    error: float
