"""How often intervals of a mean over subjects hold it, at small numbers of subjects.

Prints the coverage of 95 % intervals: percentile bootstrap, BCa (Efron 1987), bootstrap-t, and
Student's t, for subjects' accuracies as they occur: 40 trials a subject, of whom each has an own
chance of being right (beta distributed) around 0.3, 0.5 or 0.9, and the difference of two such
experiments on the same subjects.

python benchmarks/intervals.py --draws 4000
"""

import argparse

import numpy as np
from scipy import stats

COUNTS = (6, 10, 22, 32)
TRIALS, RESAMPLES, LEVEL = 40, 1000, 0.95


def studies(mean: float, subjects: int, draws: int, rng: np.random.Generator) -> np.ndarray:
    """Accuracies (draw, subject) whose expectation is ``mean``."""
    skill = rng.beta(12 * mean, 12 * (1 - mean), (draws, subjects))
    return rng.binomial(TRIALS, skill) / TRIALS


def differences(subjects: int, draws: int, rng: np.random.Generator) -> np.ndarray:
    """Differences (draw, subject) of two experiments, of which a few subjects have large ones."""
    gain = rng.exponential(0.05, (draws, subjects)) - 0.05
    first = rng.binomial(TRIALS, 0.45, (draws, subjects))
    second = rng.binomial(TRIALS, np.clip(0.45 + gain, 0, 1))
    return (second - first) / TRIALS


def intervals(values: np.ndarray, rng: np.random.Generator) -> dict[str, tuple[float, float]]:
    """Each method's interval of the mean of ``values`` (subject,)."""
    n, mean = len(values), values.mean()
    spread = values.std(ddof=1) / np.sqrt(n)
    alpha = (1 - LEVEL) / 2
    drawn = values[rng.integers(0, n, (RESAMPLES, n))]
    means = drawn.mean(axis=1)
    half = stats.t.ppf(1 - alpha, n - 1) * spread
    below = ((means < mean).mean() + (means <= mean).mean()) / 2
    below = np.clip(below, 1e-6, 1 - 1e-6)
    others = (values.sum() - values) / (n - 1)
    moved = others.mean() - others
    scale = 6 * np.square(moved).sum() ** 1.5
    skew = (moved**3).sum() / scale if scale else 0.0
    z0, z = stats.norm.ppf(below), stats.norm.ppf([alpha, 1 - alpha])
    corrected = stats.norm.cdf(z0 + (z0 + z) / (1 - skew * (z0 + z)))
    spreads = np.maximum(drawn.std(axis=1, ddof=1) / np.sqrt(n), 1e-9)
    low, high = np.quantile((means - mean) / spreads, [alpha, 1 - alpha])
    return {
        "percentile": tuple(np.quantile(means, [alpha, 1 - alpha])),
        "BCa": tuple(np.quantile(means, corrected)),
        "bootstrap-t": (mean - high * spread, mean - low * spread),
        "t": (mean - half, mean + half),
    }


def coverage(draws: int, seed: int = 0) -> dict[tuple[str, int], dict[str, tuple[float, float]]]:
    """The share of intervals that hold the mean, and their mean width, by case and subjects."""
    table = {}
    for n in COUNTS:
        rng = np.random.default_rng([seed, n])
        cases = {f"accuracy {m}": (m, studies(m, n, draws, rng)) for m in (0.3, 0.5, 0.9)}
        big = differences(n, 200_000 // n, rng)
        cases["difference"] = (float(big.mean()), differences(n, draws, rng))
        for name, (mean, samples) in cases.items():
            found = [intervals(values, rng) for values in samples]
            table[name, n] = {
                method: (
                    float(np.mean([i[method][0] <= mean <= i[method][1] for i in found])),
                    float(np.mean([i[method][1] - i[method][0] for i in found])),
                )
                for method in found[0]
            }
    return table


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--draws", type=int, default=4000)
    table = coverage(parser.parse_args().draws)
    methods = list(next(iter(table.values())))
    print("| case | subjects | " + " | ".join(methods) + " |")
    print("|---|---|" + "---|" * len(methods))
    for (name, n), found in table.items():
        cells = " | ".join(f"{c:.3f} ({w:.3f})" for c, w in found.values())
        print(f"| {name} | {n} | {cells} |")


if __name__ == "__main__":
    main()
