"""Hayashi and Yoshida's correlation by going over all pairs of increments, its bootstrap and the null of its threshold."""
import math

import numpy
from scipy import stats

MASK = 2**64 - 1


class Random:
    """SplitMix64 (Steele, Lea and Flood 2014) as the engine draws from it."""

    def __init__(self, seed):
        self.state = seed

    def next(self):
        self.state = (self.state + 0x9E3779B97F4A7C15) & MASK
        mixed = ((self.state ^ (self.state >> 30)) * 0xBF58476D1CE4E5B9) & MASK
        mixed = ((mixed ^ (mixed >> 27)) * 0x94D049BB133111EB) & MASK
        return mixed ^ (mixed >> 31)

    def uniform(self):
        return (self.next() >> 11) / 2**53

    def below(self, bound):
        while True:
            product = self.next() * bound
            if product & MASK >= 2**64 % bound:
                return product >> 64


def products(times, dx, others, dy, lag):
    """For each increment of the second series, moved back by the lag: its product with all increments of the first it overlaps."""
    moved = others - lag
    overlap = (times[:-1, None] < moved[None, 1:]) & (moved[None, :-1] < times[1:, None])
    return (dx @ overlap) * dy


def threshold(case, times, dx, others, dy, lags):
    """99 % quantile of the largest |rho| when the second series is moved in a circle by random times."""
    random = Random(case["seed"] ^ 0x534849465453)
    start, span = int(others[0]), int(others[-1] - others[0])
    margin = min(span // 4, 20 * case["lagLimitMs"])
    scale = math.sqrt(numpy.sum(dx**2) * numpy.sum(dy**2))
    largest = []
    for _ in range(case["shifts"]):
        shift = margin + int(random.uniform() * max(1, span - 2 * margin))
        ends = start + (others[1:] - start + shift) % span
        order = numpy.argsort(ends)
        moved = numpy.concatenate([[start - 1], ends[order]])
        largest.append(max(abs(numpy.sum(products(times, dx, moved, dy[order], lag))) for lag in lags) / scale)
    return min(1, float(numpy.quantile(largest, 0.99)))


def peak(rhos, lags):
    """Of equals the lag nearest to 0, then the positive one."""
    return min(range(len(lags)), key=lambda k: (-abs(rhos[k]), abs(lags[k]), -lags[k]))


def rounded(values):
    return [round(max(-1.0, min(1.0, value)), 9) for value in values]


def ticks(case):
    times, others = numpy.array(case["firstTimes"]), numpy.array(case["secondTimes"])
    dx, dy = numpy.diff(case["firstValues"]), numpy.diff(case["secondValues"])
    scale = math.sqrt(numpy.sum(dx**2) * numpy.sum(dy**2))
    steps = case["lagLimitMs"] // case["lagStepMs"]
    lags = [k * case["lagStepMs"] for k in range(-steps, steps + 1)]
    parts = [products(times, dx, others, dy, lag) for lag in lags]
    # This estimate of a correlation may go beyond 1; it is told as 1 then.
    rhos = [max(-1.0, min(1.0, float(numpy.sum(part)) / scale)) for part in parts]
    found = rhos[lags.index(case["lagMs"])]
    # The lag may be another one only where both are as good.
    yield "rho", case["rho"], found, 2e-9
    yield "largest", abs(case["rho"]), max(abs(rho) for rho in rhos), 2e-9
    yield "rho at lag 0", case["rhoAtZero"], rhos[steps], 2e-9
    yield "beta", case["beta"], found * math.sqrt(numpy.sum(dy**2) / numpy.sum(dx**2)), 1e-7
    yield "threshold", case["threshold"], threshold(case, times, dx, others, dy, lags), 2e-9

    start = min(times[0], others[0])
    count = int((max(times[-1], others[-1]) - start) // case["blockMs"]) + 1
    block = lambda ends: numpy.minimum(count - 1, (ends - start) // case["blockMs"])
    sums = [numpy.bincount(block(others[1:]), part, count) for part in parts]
    first = numpy.bincount(block(times[1:]), dx**2, count)
    second = numpy.bincount(block(others[1:]), dy**2, count)
    random, drawn, drawn_lags = Random(case["seed"]), [], []
    for _ in range(case["draws"]):
        weights = numpy.bincount([random.below(count) for _ in range(count)], minlength=count)
        total = math.sqrt((first @ weights) * (second @ weights))
        if total > 0:
            again = rounded([part @ weights / total for part in sums])
            drawn.append(again[lags.index(case["lagMs"])])
            drawn_lags.append(lags[peak(again, lags)])
    deviation = numpy.std(drawn, ddof=1)
    single = 2 * stats.norm.sf(abs(found) / deviation)
    pvalue = -math.expm1(len(lags) * math.log1p(-single)) if single < 1 else 1.0
    yield "deviation", case["deviation"], deviation, 3e-9
    # p falls steeply where |rho| is many deviations.
    yield "p", case["pValue"], pvalue, (1e-6 + 1e-8 * (found / deviation) ** 2 / deviation) * pvalue + 1e-300
    for name, values, share in [
        ("rhoLow", drawn, 0.025), ("rhoHigh", drawn, 0.975), ("lagLowMs", drawn_lags, 0.025), ("lagHighMs", drawn_lags, 0.975),
    ]:
        yield name, case[name], float(numpy.quantile(values, share)), 3e-9 if values is drawn else 0.51


CHECKS = {"ticks": ticks}
