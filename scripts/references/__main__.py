"""Compares the engine's statistics with scipy, statsmodels and scikit-learn.

Usage: python scripts/references FILE... (of `Calibration --references FILE` and `Accuracy --references FILE`)

Every number is made anew here from the inputs, by those packages or by a slow and obvious formula; each module says how. A check
yields (name, what the engine found, what is expected, how far they may differ); None where there is no number.
"""
import collections
import json
import sys

import changes
import estimates
import formulas
import links
import pairs
import scores
import ticks

CHECKS = {
    **formulas.CHECKS, **ticks.CHECKS, **estimates.CHECKS, **links.CHECKS, **changes.CHECKS, **scores.CHECKS,
}


def differs(found, expected, tolerance, worst, name):
    if found is None or expected is None:
        return found is not expected
    if tolerance == 0:
        return found != expected
    worst[name] = max(worst[name], abs(found - expected) / tolerance)
    return not abs(found - expected) <= tolerance


def main():
    worst, counts, numbers = collections.defaultdict(float), collections.Counter(), collections.Counter()
    failures, names = [], collections.Counter()
    for line in (line for path in sys.argv[1:] for line in open(path)):
        case = json.loads(line)
        kind = case["kind"]
        if kind not in CHECKS:
            for pair, problem in pairs.check(case, worst):
                if problem:
                    failures.append(f"{kind}: {problem}")
                else:
                    counts[kind] += 1
                    numbers[kind] += sum(isinstance(pair.get(name), float) for name in pairs.NUMBERS)
            failures += [f"{kind}: no number without a reason" for _ in pairs.untested(case)]
            continue
        counts[kind] += 1
        for name, found, expected, tolerance in CHECKS[kind](case):
            numbers[kind] += 1
            if differs(found, expected, tolerance, worst, f"{kind} {name}"):
                failures.append(f"{kind}: {name} {found!r}, expected {expected!r}")
                names[f"{kind} {name}"] += 1
    for kind in counts:
        print(f"{kind}: {counts[kind]} compared, {numbers[kind]} numbers")
    print("largest difference over its tolerance: " + ", ".join(f"{n} {v:.2f}" for n, v in sorted(worst.items())))
    if names:
        print("different: " + ", ".join(f"{name} {count}" for name, count in sorted(names.items())))
    for failure in failures[:20]:
        print(failure)
    print(f"{sum(counts.values())} compared, {sum(numbers.values())} numbers, {len(failures)} differences")
    missing = CHECKS.keys() - counts.keys()
    if missing:
        print("nothing of " + ", ".join(sorted(missing)))
    sys.exit(1 if failures or missing or not all(numbers.values()) else 0)


main()
