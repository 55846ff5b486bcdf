"""Compares the engine's statistics with scipy and statsmodels. Usage: references.py FILE (of `Calibration --references FILE`)

Every number is made anew here from the rows: clipping at the median +- 3 x 1.4826 MAD, Pearson's r, the effective size from the
autocorrelations, two-sided p and 95 % interval by Fisher's z, q after Benjamini and Hochberg, slope. Formulas are checked at random
places: p and interval over several lags (Sidak), confidence by numerical integration, Williams's t by the determinant of the
correlations, Hayashi and Yoshida's covariance by going over all pairs of increments.
"""
import collections
import json
import math
import sys

import numpy
from scipy import integrate, stats
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


def fisher(case):
    """p, interval and confidence of one correlation."""
    score, size, tests = case["score"], case["size"], case["tests"]
    z = math.atanh(max(-0.999999999, min(0.999999999, score)))
    deviation = 1 / math.sqrt(max(size - 3, 1))
    single = 2 * stats.norm.sf(abs(z) / deviation)
    pvalue = -math.expm1(tests * math.log1p(-single)) if single < 1 else 1.0
    half = stats.norm.isf((1 - 0.95 ** (1 / tests)) / 2) * deviation
    cut = math.atanh(min(case["threshold"], 0.999999999))

    def mass(low, high):
        # A prior flat in rho is 1 / cosh^2 in z; the density is cut where nothing of it is left.
        low, high = max(low, abs(z) - 9 * deviation), min(high, abs(z) + 9 * deviation)
        if low >= high:
            return 0
        inside = lambda x: stats.norm.pdf(x, abs(z), deviation) / math.cosh(x) ** 2
        return integrate.quad(inside, low, high, limit=200, epsabs=0, epsrel=1e-10)[0]

    outside = mass(-math.inf, -cut) + mass(cut, math.inf)
    confidence = outside / (outside + mass(-cut, cut))
    return {
        "pValue": (pvalue, RELATIVE * pvalue + 1e-300), "low": (math.tanh(z - half), 1e-8),
        "high": (math.tanh(z + half), 1e-8), "confidence": (confidence, 1e-6),
    }


def williams(case):
    """t of two dependent correlations (Williams 1959, as Steiger 1980 gives it)."""
    first, second, between, count = case["first"], case["second"], case["between"], case["count"]
    determinant = numpy.linalg.det([[1, first, second], [first, 1, between], [second, between, 1]])
    mean = (first + second) / 2
    scale = 2 * (count - 1) / (count - 3) * determinant + mean**2 * (1 - between) ** 3
    value = (first - second) * math.sqrt((count - 1) * (1 + between) / scale)
    return {"statistic": (value, 1e-7 * max(1, abs(value)))}


def ticks(case):
    """Covariance of increments that overlap, the second series moved back by each lag."""
    times, values = numpy.array(case["firstTimes"]), numpy.array(case["firstValues"])
    others, theirs = numpy.array(case["secondTimes"]), numpy.array(case["secondValues"])
    dx, dy = numpy.diff(values), numpy.diff(theirs)
    scale = math.sqrt(numpy.sum(dx**2) * numpy.sum(dy**2))
    steps = case["lagLimitMs"] // case["lagStepMs"]
    rhos = {}
    for lag in range(-steps, steps + 1):
        moved = others - lag * case["lagStepMs"]
        overlap = (times[:-1, None] < moved[None, 1:]) & (moved[None, :-1] < times[1:, None])
        # This estimate of a correlation may go beyond 1; it is told as 1 then.
        rhos[lag * case["lagStepMs"]] = max(-1, min(1, float(dx @ (overlap @ dy)) / scale))
    largest = max(abs(value) for value in rhos.values())
    found = rhos[case["lagMs"]]
    # The lag may be another one only where both are as good.
    return {
        "rho": (found, 2e-9), "rhoAtZero": (rhos[0], 2e-9), "largest": (largest, 2e-9),
        "beta": (found * math.sqrt(numpy.sum(dy**2) / numpy.sum(dx**2)), 1e-7),
    }


FORMULAS = {"fisher": fisher, "williams": williams, "ticks": ticks}


def check_formula(case, worst):
    case["largest"] = abs(case.get("rho", 0))
    for name, (value, tolerance) in FORMULAS[case["kind"]](case).items():
        name, found = f"{case['kind']} {name}", case[name]
        worst[name] = max(worst[name], abs(found - value) / tolerance)
        if not abs(found - value) <= tolerance:
            yield f"{name} {found!r}, expected {value!r}"


def main():
    worst = collections.defaultdict(float)
    counts, tested, failures = collections.Counter(), collections.Counter(), []
    for line in open(sys.argv[1]):
        case = json.loads(line)
        if case["kind"] in FORMULAS:
            failures += list(check_formula(case, worst))
            counts[case["kind"]] += 1
            tested[case["kind"]] += 1
            continue
        for pair, problem in check(case, worst):
            if problem:
                failures.append(f"{case['kind']}: {problem}")
            else:
                counts[case["kind"]] += 1
                tested[case["kind"]] += pair.get("score") is not None
        failures += [f"{case['kind']}: no number without a reason" for _ in untested(case)]
    for kind in counts:
        print(f"{kind}: {counts[kind]} compared, {tested[kind]} with numbers")
    print("largest difference over its tolerance: " + ", ".join(f"{n} {v:.2f}" for n, v in sorted(worst.items())))
    for failure in failures[:20]:
        print(failure)
    print(f"{sum(counts.values())} compared, {len(failures)} differences")
    sys.exit(1 if failures or not sum(tested.values()) else 0)


main()
