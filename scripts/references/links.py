"""Whitening, the sequential test of a link, and alarm levels."""
import collections
import math

import numpy
from scipy import integrate, optimize, stats
from statsmodels.regression.linear_model import OLS


def noise(values):
    result, bound = 0, math.inf
    for _ in range(4):
        result = math.sqrt(numpy.mean(numpy.clip(values, -bound, bound) ** 2))
        bound = 3 * result
    return result


def whitening(case):
    row = numpy.array([math.nan if value is None else value for value in case["row"]])
    known = ~numpy.isnan(row)
    centred = row - numpy.mean(row[known]) if known.any() else row
    both = known[1:] & known[:-1]
    before, now = centred[:-1][both], centred[1:][both]
    if 2 * known.sum() < len(row) or known.sum() <= 3 or not numpy.any(before):
        yield "phi", case.get("phi"), None, 0
        return
    phi = min(0.999, max(-0.999, OLS(now, before).fit().params[0]))
    # Where nothing is left after whitening there is no scale.
    if case.get("phi") is None:
        left = row[1:][both] - phi * row[:-1][both]
        yield "scale left", float(numpy.ptp(left)), 0.0, 1e-12 * numpy.max(numpy.abs(row[known]))
        return
    # About a mean of 1e9 both know the distances to seven digits only.
    yield "phi", case["phi"], phi, 1e-9 + 1e-16 * numpy.max(numpy.abs(row[known])) / numpy.std(centred[known])
    # What follows is told for this very coefficient: at values of 1e9 its last digits move a median.
    phi, recent = case["phi"], case["recent"]
    whole = numpy.concatenate([[math.nan], row[1:] - phi * row[:-1]])
    left = whole[~numpy.isnan(whole)]
    coarse = 4e-15 * numpy.max(numpy.abs(row[known]))
    centre = numpy.median(left)
    scale = stats.median_abs_deviation(left, scale=1 / 1.4826) or noise(left - centre)
    sizes = numpy.minimum(4, numpy.abs((left - centre) / scale))
    usual = numpy.mean(sizes)
    means = [numpy.mean(sizes[end - recent:end]) for end in range(recent, len(sizes) + 1)]
    loud = float(numpy.quantile(means, 0.95)) if means else None
    yield "centre", case["centre"], centre, coarse
    yield "scale", case["scale"], scale, coarse + 1e-12 * scale
    yield "bound", case["bound"], case["clip"] * scale, 3 * coarse + 1e-12 * scale
    yield "usual size", case["usual"], usual, 2 * coarse / scale + 1e-9
    yield "loud size", case.get("loud"), loud, 2 * coarse / scale + 1e-9
    for found, value in zip(case["clipped"], whole - centre):
        expected = None if math.isnan(value) else min(case["bound"], max(-case["bound"], value))
        yield "clipped value", found, expected, 2 * coarse + 1e-12 * abs(value)
    level = (whole - centre) / scale
    seen = numpy.where(numpy.isnan(level), usual, numpy.minimum(4, numpy.abs(level)))
    for place in range(1, len(row)):
        mean = numpy.sum(seen[max(1, place - recent + 1):place + 1]) / recent
        if loud is not None and abs(mean - loud) < 1e-8 + 4 * coarse / scale:
            continue
        value = level[place] * usual / mean if loud is not None and mean > loud else level[place]
        expected = None if math.isnan(value) else value
        yield "levelled value", case["levelled"][place], expected, (4 * coarse / scale + 1e-9) * max(1, abs(value))


def increments(rho, values):
    """What each value says for rho / 2 against rho: by Student's bivariate t, and by the direction of the value alone."""
    law = lambda r: stats.multivariate_t(loc=[0, 0], shape=[[1, r], [r, 1]], df=3)
    plain = law(rho / 2).logpdf(values) - law(rho).logpdf(values)
    turn = numpy.sin(2 * numpy.arctan2(values[:, 1], values[:, 0]))
    density = lambda r: math.sqrt(1 - r * r) / (1 - r * turn)
    return numpy.clip(plain, -3, 3), numpy.clip(numpy.log(density(rho / 2) / density(rho)), -3, 3)


def direction_density(rho, angle):
    """The density of the direction of a bivariate normal value: its density over all distances."""
    law = stats.multivariate_normal([0, 0], [[1, rho], [rho, 1]])
    along = numpy.array([math.cos(angle), math.sin(angle)])
    return integrate.quad(lambda distance: distance * law.pdf(distance * along), 0, 40, epsabs=1e-13)[0]


def lundberg(steps):
    """The root s > 0 of mean exp(s g) = 1, within 0.05 ... 6."""
    mean = lambda s: numpy.mean(numpy.expm1(s * steps))
    if numpy.mean(steps) >= 0 or mean(0.05) >= 0:
        return 0.05
    return 6.0 if mean(6) <= 0 else optimize.brentq(mean, 0.05, 6, xtol=1e-12)


def link_break(case):
    values = numpy.array(case["baseline"]).reshape(-1, 2)
    mean = numpy.mean(2 * values[:, 0] * values[:, 1] / numpy.maximum(1e-12, numpy.sum(values**2, axis=1)))
    rho = 2 * mean / (1 + mean**2)
    if len(values) < case["least"] or abs(rho) < 0.1 - 1e-12:
        yield "rho", case.get("rho"), None, 0
        return
    rho = min(0.98, max(-0.98, rho))
    yield "rho", case.get("rho"), rho, 1e-12
    if case.get("rho") is None:
        return
    rho = case["rho"]
    plain, turned = increments(rho, values)
    # Newton's steps stop at 1e-4 of the root.
    for name, steps in [("exponent", plain), ("angleExponent", turned)]:
        root = lundberg(steps)
        yield name, case[name], root, 2e-4 * root
    angle = math.atan2(values[0, 1], values[0, 0])
    density = math.sqrt(1 - rho**2) / (2 * math.pi * (1 - rho * math.sin(2 * angle)))
    yield "density of a direction", density, direction_density(rho, angle), 1e-7 * density
    first = second = 0.0
    following = zip(*increments(rho, numpy.array(case["following"]).reshape(-1, 2)))
    for found, (one, other) in zip(case["evidence"], following, strict=True):
        first = min(case["limit"], max(0, first + case["exponent"] * one))
        second = min(case["limit"], max(0, second + case["angleExponent"] * other))
        yield "evidence", found, min(first, 1.75 * second), 1e-9 * case["limit"]


def budget(case):
    tail = case["alarmsPerNodeDay"] / max(1, 86_400_000 / case["bucketMs"]) / case["sharers"]
    tail = min(0.05, tail)
    yield "normal level", case["normal"], stats.norm.isf(tail / 2), 1e-10
    yield "level of a sum", case["sequential"], max(3, math.log(0.06 / tail)), 1e-12


def alarms(case):
    """All buckets anew; and no node may be in more alarms than budget x days + 3."""
    step = 15 if case["unit"] == "nats" else 3
    fall = step * case["alarmsPerNodeDay"] * case["bucketMs"] / 86_400_000
    raises, told = collections.defaultdict(float), collections.Counter()
    near, open_links = {}, {}
    for bucket in case["buckets"]:
        raises = collections.defaultdict(float, {node: max(0, value - fall) for node, value in raises.items()})
        expected = {}
        excess = {tuple(entry["link"]): entry["statistic"] - case["base"] for entry in bucket}
        for link in excess.keys() & open_links.keys():
            if excess[link] > open_links[link]["raise"]:
                expected[link] = open_links[link]["raise"]
                open_links[link]["below"] = 0
        seen = set(expected)
        for link in sorted(excess.keys() - open_links.keys(), key=lambda link: (-excess[link], link)):
            level = max(raises[node] for node in link)
            if min(excess[link], 2 * step) <= level:
                continue
            seen.add(link)
            expected[link] = level
            near[link] = near.get(link, 0) + 1
            if near[link] == 3:
                open_links[link] = {"raise": level, "below": 0}
                for node in link:
                    raises[node] += step
                    told[node] += 1
        for link in set(open_links) - seen:
            open_links[link]["below"] += 1
            if open_links[link]["below"] == 3:
                del open_links[link]
        near = {link: count for link, count in near.items() if link in seen and link not in open_links}
        for entry in bucket:
            level = expected.get(tuple(entry["link"]))
            yield "level", entry.get("level"), None if level is None else case["base"] + level, 1e-9
    days = len(case["buckets"]) * case["bucketMs"] / 86_400_000
    yield "alarms of a node within its share", max(told.values(), default=0) <= case["alarmsPerNodeDay"] * days + 3, True, 0


CHECKS = {"whitening": whitening, "break": link_break, "budget": budget, "alarms": alarms}
