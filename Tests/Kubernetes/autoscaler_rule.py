"""The scaling rule against what Kubernetes documents, on a clock of its own."""

import sys

import chart
from autoscaler import Autoscaler

faults = []


def spec(least=1, most=100):
    values = chart.values_of("values-production.yaml")
    document = next(each for each in chart.render(values) if each["kind"] == "HorizontalPodAutoscaler")
    return {**document["spec"], "minReplicas": least, "maxReplicas": most}


def run(values, start=1, least=1, most=100, step=15, speed=1.0):
    """Replicas at every step, when each step has one mean value against a target of 10."""
    scaler, current, history = Autoscaler(spec(least, most), speed), start, []
    for index, value in enumerate(values):
        current = scaler.decide(index * step, current, [(value, 10)])
        history.append(current)
    return history


def expect(name, found, wanted):
    if found != wanted:
        faults.append(f"{name}: {found}, not {wanted}")


expect("a load of eight times doubles each 30 s", run([80, 80, 40, 40, 20, 20, 10, 10]), [2, 2, 4, 4, 8, 8, 8, 8])
expect("up to the most", run([80] * 8, most=3), [2, 2, 3, 3, 3, 3, 3, 3])
expect("within a tenth nothing changes", run([10.9, 9.1, 10.9], start=4), [4, 4, 4])
expect("beyond a tenth it does", run([11.2], start=10), [12])
expect("down waits 300 s, then a quarter each 60 s", run([0] * 40, start=8), [8] * 20 + [6] * 4 + [4] * 4 + [3] * 4 + [2] * 4 + [1] * 4)
expect("a peak within 300 s holds", run([0] * 10 + [10] + [0] * 22, start=4), [4] * 30 + [3] * 3)
expect("never below the least", run([0] * 60, start=5, least=3)[-1], 3)
expect("a clock ten times as fast", run([80, 80, 40, 40], step=1.5, speed=10), [2, 2, 4, 4])
scaler = Autoscaler(spec(), 1)
expect("a metric that is missing takes nothing away", scaler.decide(0, 4, [(None, 10), (1, 10)]), 4)
expect("the largest of two metrics", Autoscaler(spec(), 1).decide(0, 2, [(20, 10), (1, 10)]), 4)
for fault in faults:
    print(fault)
print(f"10 cases, {len(faults)} faults")
sys.exit(1 if faults else 0)
