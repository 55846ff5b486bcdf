"""Medians, scales, quantiles, ranks and partial correlations."""
import math

import numpy
from scipy import stats

import pairs


def robust(case):
    values, share = numpy.array(case["values"]), case["share"]
    tolerance = 1e-14 * max(1e-9, numpy.max(numpy.abs(values)))
    middle = numpy.median(values)
    yield "median", case["median"], middle, tolerance
    yield "upper median", case["upperMedian"], sorted(values)[len(values) // 2], 0
    yield "scale", case["scale"], stats.median_abs_deviation(values, scale=1 / 1.4826), 4 * tolerance
    yield "quantile", case["quantile"], numpy.quantile(values, share), 4 * tolerance
    yield "median of samples", case["sampleMedian"], middle, tolerance
    yield "quantile of samples", case["sampleQuantile"], numpy.quantile(values, share), 4 * tolerance
    noise, bound = 0, math.inf
    for _ in range(4):
        noise = math.sqrt(numpy.mean(numpy.clip(values, -bound, bound) ** 2))
        bound = 3 * noise
    yield "noise", case["noise"], noise, 1e-12 * noise


def ranks(case):
    """Spearman's; where samples are missing each series is ranked over all it has."""
    rows = [numpy.array([math.nan if v is None else v for v in case[name]]) for name in ("first", "second")]
    found = [stats.rankdata(row, nan_policy="omit") for row in rows]
    known = ~numpy.isnan(rows[0]) & ~numpy.isnan(rows[1])
    one, two = found[0][known], found[1][known]
    if known.sum() < 20 or numpy.ptp(one) == 0 or numpy.ptp(two) == 0:
        yield "rank correlation", case.get("value"), None, 0
    elif known.all():
        yield "rank correlation", case.get("value"), stats.spearmanr(rows[0], rows[1])[0], 1e-12
    else:
        yield "rank correlation", case.get("value"), stats.pearsonr(one, two)[0], 1e-12


def residual_correlation(x, y, z):
    """Partial correlation as what it means: of what a regression on the third leaves of both."""
    x, y, z = x - numpy.mean(x), y - numpy.mean(y), z - numpy.mean(z)
    design = numpy.column_stack([numpy.ones(len(z)), z / numpy.std(z)])
    left = [row - design @ numpy.linalg.lstsq(design, row, rcond=None)[0] for row in (x, y)]
    return stats.pearsonr(*left)[0]


def partial(case):
    rows = [numpy.array(row) for row in case["rows"]]
    if any(numpy.ptp(row) == 0 for row in rows):
        yield "partial correlation", case.get("value"), None, 0
        return
    rest = math.prod(1 - stats.pearsonr(row, rows[2])[0] ** 2 for row in rows[:2])
    yield "partial correlation", case.get("value"), residual_correlation(*rows), 1e-10 + 1e-13 / rest


def explained(case):
    """Which of the nodes linked to both ends explains a link, if any; left out where it is too close to tell."""
    rows = [pairs.clipped(numpy.array(row)) for row in case["rows"]]
    links = {frozenset((link["first"], link["second"])): link.get("explainedBy") for link in case["links"]}
    score = lambda a, b: stats.pearsonr(rows[a], rows[b])[0]
    for ends, found in links.items():
        first, second = ends
        strengths = sorted(
            (abs(score(first, other) * score(second, other)), other) for other in range(len(rows))
            if frozenset((first, other)) in links and frozenset((second, other)) in links)
        if not strengths:
            yield "explained by", found, None, 0
            continue
        if len(strengths) > 1 and strengths[-1][0] - strengths[-2][0] < 1e-8:
            continue
        strongest = strengths[-1][1]
        left = abs(residual_correlation(rows[first], rows[second], rows[strongest]))
        if abs(left - case["threshold"]) > 1e-7:
            yield "explained by", found, strongest if left < case["threshold"] else None, 0


CHECKS = {"robust": robust, "ranks": ranks, "partial": partial, "explained": explained}
