"""The life of an edge, and intervals of forecasts."""
import math

import numpy
from scipy import stats
from statsmodels.regression.linear_model import WLS
from statsmodels.stats.proportion import proportion_confint


def decay(times, z, sizes, overlap):
    """Slope of ln z over time by weighted least squares: rate and variance per millisecond; None where there is no slope."""
    kept = (sizes > 3) & (z > 2 / numpy.sqrt(numpy.maximum(sizes - 3, 1e-300)))
    times, z, sizes = times[kept], z[kept], sizes[kept]
    if len(z) < 5 or numpy.ptp(times) == 0:
        return None
    unit = 1e6
    design = numpy.column_stack([numpy.ones(len(z)), (times - times[0]) / unit])
    fit = WLS(numpy.log(z), design, weights=(sizes - 3) * z**2).fit(cov_type="fixed scale", cov_kwds={"scale": 1})
    return -fit.params[1] / unit, (fit.bse[1] / unit) ** 2 * max(1, overlap)


def half_life(case):
    rows = [numpy.array(case[name], dtype=float) for name in ("times", "z", "sizes")]
    overlap = case["overlap"]
    whole = decay(*rows, overlap)
    if whole is None:
        yield "rate", case.get("rate"), None, 0
    else:
        rate, variance = whole
        deviation = math.sqrt(variance)
        yield "rate", case.get("rate"), rate, 1e-8 * (abs(rate) + deviation)
        yield "variance", case.get("variance"), variance, 1e-8 * variance
        if abs(rate - 1.645 * deviation) > 1e-8 * deviation:
            expected = math.log(2) / rate if rate > 1.645 * deviation else None
            yield "half-life", case.get("halfLifeMs"), expected, 0.51 + 1e-8 * (expected or 0)
    half = len(case["times"]) // 2
    older, newer = decay(*(row[:half] for row in rows), overlap), decay(*(row[half:] for row in rows), overlap)
    shrunk = False
    if len(case["times"]) >= 16 and older and newer:
        beyond = newer[0] - 1.645 * math.sqrt(newer[1])
        faster = newer[0] - max(0, older[0]) - stats.norm.isf(0.005) * math.sqrt(older[1] + newer[1])
        if min(abs(beyond), abs(faster)) < 1e-4 * math.sqrt(older[1] + newer[1]):
            return
        shrunk = beyond > 0 and faster > 0
    yield "has shrunk", case["hasShrunk"], shrunk, 0


def lives(case):
    """Both 95 % intervals apart: Fisher's z differ by more than 1.96 x the sum of both deviations (Schenker and Gentleman)."""
    z = [math.atanh(score) for score in case["scores"]]
    reach = stats.norm.ppf(0.975) * sum(1 / math.sqrt(size - 3) for size in case["sizes"])
    growth = (z[1] - z[0]) * math.copysign(1, z[0])
    if abs(abs(growth) - reach) < 1e-8:
        return
    if not case["isAccepted"]:
        expected = ["broken"] if growth < -reach else []
    elif z[0] * z[1] < 0:
        expected = ["flipped"]
    else:
        expected = ["strengthened"] if growth > reach else ["weakened"] if growth < -reach else []
    yield "change", case["changes"], expected, 0


def conformal(case):
    ratios, intervals, misses, covered, hits = [], 0, 0, [], []
    for move in case["moves"]:
        miss = 0.2 + 0.03 * (0.2 * intervals - misses)
        last = sorted(ratios[-100:])
        half = None
        if len(last) >= 20:
            # The rank (1 - a)(n + 1) among n, between neighbours in proportion.
            half = float(numpy.interp((1 - miss) * (len(last) + 1), range(1, len(last) + 1), last)) * move["sourceSd"]
        yield "half width", move.get("halfWidth"), half, 1e-10 * (half or 0) + 1e-300
        if half is not None:
            # Its last digit decides where the outcome is at the very end.
            half = move["halfWidth"]
            isInside = move["expected"] - half <= move["outcome"] <= move["expected"] + half
            covered.append(isInside)
            intervals += 1
            misses += not isInside
        if move["outcome"] != 0 and move["expected"] != 0:
            hits.append((move["outcome"] > 0) == (move["expected"] > 0))
        ratios.append(abs(move["outcome"] - move["expected"]) / move["sourceSd"])
    yield "miss", case["miss"], 0.2 + 0.03 * (0.2 * intervals - misses), 1e-12
    for name, outcomes in [("coverage", covered), ("signHits", hits)]:
        if not outcomes:
            yield name, case.get(name), None, 0
            continue
        low, high = proportion_confint(sum(outcomes), len(outcomes), method="wilson")
        for part, value in [("value", numpy.mean(outcomes)), ("low", low), ("high", high)]:
            yield f"{name} {part}", case[name][part], value, 1e-9


CHECKS = {"halfLife": half_life, "lives": lives, "conformal": conformal}
