"""Formulas of a correlation at random and extreme places."""
import math

import numpy
from scipy import integrate, stats

RELATIVE = 1e-5


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
    yield "p", case["pValue"], pvalue, RELATIVE * pvalue + 1e-300
    yield "low", case["low"], math.tanh(z - half), 1e-8
    yield "high", case["high"], math.tanh(z + half), 1e-8
    yield "confidence", case["confidence"], confidence, 1e-6


def williams(case):
    """t of two dependent correlations (Williams 1959, as Steiger 1980 gives it)."""
    first, second, between, count = case["first"], case["second"], case["between"], case["count"]
    determinant = numpy.linalg.det([[1, first, second], [first, 1, between], [second, between, 1]])
    mean = (first + second) / 2
    scale = 2 * (count - 1) / (count - 3) * determinant + mean**2 * (1 - between) ** 3
    value = (first - second) * math.sqrt((count - 1) * (1 + between) / scale)
    yield "statistic", case["statistic"], value, 1e-7 * max(1, abs(value))


CHECKS = {"fisher": fisher, "williams": williams}
