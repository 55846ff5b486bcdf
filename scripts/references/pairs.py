"""Whole windows: r, effective size, p, interval, q and slope of every pair from the rows."""
import math

import numpy
from scipy import stats
from statsmodels.stats.multitest import multipletests
from statsmodels.tsa.stattools import acf

# Decisions are made on values rounded to nine digits; what follows from such a value is compared more loosely.
SCORE, SIZE, RELATIVE = 2e-9, 1e-6, 1e-5
NUMBERS = ("score", "effectiveSize", "pValue", "low", "high", "slope", "qValue")


def clipped(row):
    known = row[~numpy.isnan(row)]
    if not len(known):
        return row
    centre = numpy.median(known)
    width = stats.median_abs_deviation(known, scale=1 / 1.4826)
    if width == 0:
        width = 1.2533 * numpy.mean(numpy.abs(known - centre))
    return numpy.clip(row, centre - 3 * width, centre + 3 * width)


def memory(row, lags):
    """Autocorrelation at lags 1 to `lags`; places without a value count as the mean."""
    centred = row - numpy.nanmean(row)
    centred[numpy.isnan(centred)] = 0
    if not numpy.isnan(row).any():
        return acf(row, nlags=lags, fft=False, adjusted=False)[1:]
    energy = numpy.sum(centred**2)
    return numpy.array([numpy.sum(centred[k:] * centred[:-k]) / energy for k in range(1, lags + 1)])


def effective(first, second, both, length):
    lags = min(both // 4, length // 4)
    weights = 1 - numpy.arange(1, lags + 1) / both
    divisor = 1 + 2 * numpy.sum(weights * memory(first, lags) * memory(second, lags))
    return both * min(1, 1 / divisor) if divisor > 0 else both


def check(case, worst):
    rows = [clipped(numpy.array([math.nan if v is None else v for v in row])) for row in case["rows"]]
    numbers = []
    for pair in case["pairs"]:
        first, second = rows[pair["first"]], rows[pair["second"]]
        known = ~numpy.isnan(first) & ~numpy.isnan(second)
        if pair.get("score") is None:
            yield pair, None
            continue
        x, y = first[known], second[known]
        score = stats.pearsonr(x, y)[0]
        size = effective(first, second, int(known.sum()), len(first))
        z = math.atanh(max(-0.999999999, min(0.999999999, score)))
        deviation = 1 / math.sqrt(max(size - 3, 1))
        pvalue = 2 * stats.norm.sf(abs(z) / deviation)
        half = stats.norm.ppf(0.975) * deviation
        numbers.append((pair, pvalue))
        expected = {
            "score": (score, SCORE), "effectiveSize": (size, SIZE * max(1, size)), "pValue": (pvalue, RELATIVE * pvalue + 1e-300),
            "low": (math.tanh(z - half), 1e-6), "high": (math.tanh(z + half), 1e-6),
            "slope": (score * numpy.std(y) / numpy.std(x), RELATIVE * abs(score * numpy.std(y) / numpy.std(x))),
        }
        for name, (value, tolerance) in expected.items():
            found = pair.get(name)
            if found is None:
                continue
            worst[name] = max(worst[name], abs(found - value) / tolerance)
            if abs(found - value) > tolerance:
                yield pair, f"{name} {found!r}, expected {value!r}"
        yield pair, None
    if numbers:
        # Short pairs are tests that found nothing; a constant series cannot be tested.
        short = sum(pair.get("reason") == "short" for pair in case["pairs"])
        padded = [p for _, p in numbers] + [1.0] * short
        qvalues = multipletests(padded, method="fdr_bh")[1]
        for (pair, _), value in zip(numbers, qvalues):
            found = pair.get("qValue")
            if found is not None and abs(found - value) > RELATIVE * value + 1e-300:
                yield pair, f"qValue {found!r}, expected {value!r}"


def untested(case):
    """Pairs the engine gave no number, and no good reason: constant, or fewer than ten values that are effective or not the median."""
    raw = [numpy.array([math.nan if v is None else v for v in row]) for row in case["rows"]]
    rows = [clipped(row) for row in raw]
    informative = [numpy.sum(row[~numpy.isnan(row)] != numpy.nanmedian(row)) for row in raw]
    for pair in case["pairs"]:
        if pair.get("score") is not None:
            continue
        first, second = rows[pair["first"]], rows[pair["second"]]
        known = ~numpy.isnan(first) & ~numpy.isnan(second)
        still = not known.any() or numpy.ptp(first[known]) == 0 or numpy.ptp(second[known]) == 0
        if pair.get("reason") == "constant" and still:
            continue
        few = min(informative[pair["first"]], informative[pair["second"]]) < 10
        if pair.get("reason") == "short" and (few or effective(first, second, int(known.sum()), len(first)) < 10 + SIZE):
            continue
        yield pair
