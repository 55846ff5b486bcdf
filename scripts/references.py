"""Compares the engine's statistics with scipy and statsmodels. Usage: references.py FILE (of `Calibration --references FILE`)

Every number is made anew here from the rows: clipping at the median +- 3 x 1.4826 MAD, Pearson's r, the effective size from the
autocorrelations, two-sided p and 95 % interval by Fisher's z, q after Benjamini and Hochberg, slope.
"""
import collections
import json
import math
import sys

import numpy
from scipy import stats
from statsmodels.stats.multitest import multipletests
from statsmodels.tsa.stattools import acf

# Decisions are made on values rounded to nine digits; what follows from such a value is compared more loosely.
SCORE, SIZE, RELATIVE = 2e-9, 1e-6, 1e-5


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
    """Pairs the engine gave no number: constant, or fewer than ten effective values."""
    for pair in case["pairs"]:
        if pair.get("score") is None and pair.get("reason") not in ("constant", "short"):
            yield pair


def main():
    worst = collections.defaultdict(float)
    counts, tested, failures = collections.Counter(), collections.Counter(), []
    for line in open(sys.argv[1]):
        case = json.loads(line)
        for pair, problem in check(case, worst):
            if problem:
                failures.append(f"{case['kind']}: {problem}")
            else:
                counts[case["kind"]] += 1
                tested[case["kind"]] += pair.get("score") is not None
        failures += [f"{case['kind']}: no number without a reason" for _ in untested(case)]
    for kind in counts:
        print(f"{kind}: {counts[kind]} pairs, {tested[kind]} with numbers")
    print("largest difference over its tolerance: " + ", ".join(f"{n} {v:.2f}" for n, v in sorted(worst.items())))
    for failure in failures[:20]:
        print(failure)
    print(f"{sum(counts.values())} pairs compared, {len(failures)} differences")
    sys.exit(1 if failures or not sum(tested.values()) else 0)


main()
