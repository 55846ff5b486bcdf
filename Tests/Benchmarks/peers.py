"""What numpy needs for the same work, in seconds, as one JSON object. Usage: peers.py WORK FILE NODES LENGTH

FILE holds NODES x LENGTH little-endian doubles, a row a node. WORK: product, corrcoef (lag 0), lags (best of 33 lags of all
pairs), tiles (pairs whose best of 33 lags reaches .75, in tiles that bound memory). One thread: the caller sets the variables
of the linear algebra library.
"""
import json
import sys
import time

import numpy

LAGS = 16


def standardised(rows):
    rows = rows - rows.mean(1, keepdims=True)
    return (rows / numpy.linalg.norm(rows, axis=1, keepdims=True)).astype(numpy.float32)


def windows(rows):
    """The windows of leaders by lag, and that of followers."""
    end = rows.shape[1]
    return [standardised(rows[:, LAGS - lag:end - lag]) for lag in range(LAGS + 1)]


def product(rows):
    scaled = standardised(rows)
    return scaled @ scaled.T


def best(leaders, rows, columns):
    """Largest absolute r and its lag over lags -16 ... 16; positive: the row leads."""
    top = numpy.abs(leaders[0][rows] @ leaders[0][columns].T)
    lag = numpy.zeros(top.shape, numpy.int8)
    for step in range(1, LAGS + 1):
        for sign, scores in ((1, leaders[step][rows] @ leaders[0][columns].T), (-1, leaders[0][rows] @ leaders[step][columns].T)):
            scores = numpy.abs(scores)
            better = scores > top
            numpy.copyto(top, scores, where=better)
            lag[better] = sign * step
    return top, lag


def lags(rows):
    """17 products: the transpose of each holds the lags of the other sign."""
    leaders = windows(rows)
    top = numpy.abs(leaders[0] @ leaders[0].T)
    lag = numpy.zeros(top.shape, numpy.int8)
    for step in range(1, LAGS + 1):
        scores = numpy.abs(leaders[step] @ leaders[0].T)
        for sign, part in ((step, scores), (-step, scores.T)):
            better = part > top
            numpy.copyto(top, part, where=better)
            lag[better] = sign
    return top, lag


def tiles(rows, size=1000, threshold=0.75):
    leaders = windows(rows)
    found = 0
    for first in range(0, rows.shape[0], size):
        for second in range(first, rows.shape[0], size):
            top, _ = best(leaders, slice(first, first + size), slice(second, second + size))
            found += numpy.count_nonzero(numpy.triu(top >= threshold, 1) if first == second else top >= threshold)
    return found


def main():
    work, path, nodes, length = sys.argv[1], sys.argv[2], int(sys.argv[3]), int(sys.argv[4])
    rows = numpy.fromfile(path, dtype="<f8").reshape(nodes, length)
    run = {"product": product, "corrcoef": numpy.corrcoef, "lags": lags, "tiles": tiles}[work]
    if work != "tiles":
        run(rows[: min(200, nodes)])
    start = time.perf_counter()
    answer = run(rows)
    seconds = time.perf_counter() - start
    print(json.dumps({"seconds": seconds, "found": int(answer) if work == "tiles" else None}))


main()
