"""Scores of rankings: average precision by scikit-learn, the volume under the surface by its definition, place by place."""
import math

import numpy
from sklearn.metrics import average_precision_score


def widened(ranges, reach, length):
    """Ranges with `reach` more places on both sides; those that meet become one."""
    result = []
    for first, last in ranges:
        first, last = max(0, first - reach), min(length - 1, last + reach)
        if result and first <= result[-1][1]:
            result[-1][1] = last
        else:
            result.append([first, last])
    return result


def area(scores, labels, ranges, window, levels):
    """Area under range-based precision and recall for slopes of half a window (Paparrizos and others 2022)."""
    weights = labels.astype(float)
    for first, last in ranges:
        for step in range(1, window // 2 + 1) if window > 1 else []:
            for place in (first - step, last + step):
                if 0 <= place < len(scores):
                    weights[place] = min(1, weights[place] + math.sqrt(1 - step / window))
    total, before = 0.0, 0.0
    for level in levels:
        predicted = scores >= level
        hit = numpy.sum(weights[predicted])
        slopes = numpy.sum(weights[predicted & ~labels])
        met = [numpy.any(predicted[first:last + 1]) for first, last in widened(ranges, window // 2, len(scores))]
        recall = min(1, hit / (labels.sum() + slopes / 2)) * numpy.mean(met)
        total += (recall - before) * hit / predicted.sum()
        before = recall
    return total


def ranking(case):
    scores, labels = numpy.array(case["scores"]), numpy.array(case["labels"])
    yield "average precision", case["averagePrecision"], average_precision_score(labels, scores), 1e-12
    edges = numpy.flatnonzero(numpy.diff(numpy.concatenate([[False], labels, [False]]).astype(int)))
    ranges = [(first, end - 1) for first, end in zip(edges[::2], edges[1::2])]
    places = numpy.linspace(0, len(scores) - 1, case["thresholds"]).astype(int)
    levels = numpy.sort(scores)[::-1][places]
    areas = [area(scores, labels, ranges, window, levels) for window in range(case["window"] + 1)]
    yield "volume under the surface", case["volume"], numpy.mean(areas), 1e-12


CHECKS = {"scores": ranking}
