"""How Kubernetes scales: the rule of HorizontalPodAutoscaler v2 with `behavior`, as its controller carries it out, over a clock
that may run faster. A value without processes or requests."""

import math


class Autoscaler:
    #: A ratio this near to 1 changes nothing.
    tolerance = 0.1

    def __init__(self, spec, speed=1.0):
        """`spec` is that of the rendered object; all its times are divided by `speed`."""
        self.spec, self.speed = spec, speed
        self.recommendations, self.ups, self.downs = [], [], []

    def desired_by_metrics(self, current, metrics):
        """The largest proposal of all metrics; each is (mean over the replicas, target). None where a metric cannot be read."""
        proposals = []
        for mean, target in metrics:
            if mean is None:
                continue
            ratio = mean / target
            proposals.append(current if abs(ratio - 1) <= self.tolerance else math.ceil(current * ratio))
        if not proposals:
            return current
        desired = max(proposals)
        # With a metric missing, nothing may be taken away.
        return max(desired, current) if any(mean is None for mean, _ in metrics) else desired

    def decide(self, now, current, metrics):
        wanted = self.desired_by_metrics(current, metrics)
        if not self.recommendations:
            # What runs at the start counts as recommended, so that a restarted controller takes nothing away at once.
            self.recommendations.append((now, current))
        self.recommendations.append((now, wanted))
        behavior = self.spec["behavior"]
        wanted = self.stabilized(now, current, wanted, behavior)
        if wanted > current:
            wanted = min(wanted, self.limit_up(now, current, behavior["scaleUp"]))
        elif wanted < current:
            wanted = max(wanted, self.limit_down(now, current, behavior["scaleDown"]))
        wanted = max(self.spec["minReplicas"], min(self.spec["maxReplicas"], wanted))
        if wanted > current:
            self.ups.append((now, wanted - current))
        elif wanted < current:
            self.downs.append((now, current - wanted))
        return wanted

    def stabilized(self, now, current, wanted, behavior):
        """Up: the least that was recommended within its window. Down: the most."""
        up = behavior["scaleUp"]["stabilizationWindowSeconds"] / self.speed
        down = behavior["scaleDown"]["stabilizationWindowSeconds"] / self.speed
        lowest = min([wanted, *(each for at, each in self.recommendations if at > now - up)])
        highest = max([wanted, *(each for at, each in self.recommendations if at > now - down)])
        self.recommendations = [(at, each) for at, each in self.recommendations if at > now - max(up, down)]
        if current < lowest:
            return lowest
        return highest if current > highest else current

    def limit_up(self, now, current, rules):
        limits = []
        for policy in rules["policies"]:
            recent = sum(size for at, size in self.ups if at > now - policy["periodSeconds"] / self.speed)
            start = current - recent
            limits.append(math.ceil(start * (1 + policy["value"] / 100)) if policy["type"] == "Percent" else start + policy["value"])
        return max(current, (max if rules.get("selectPolicy", "Max") == "Max" else min)(limits))

    def limit_down(self, now, current, rules):
        limits = []
        for policy in rules["policies"]:
            recent = sum(size for at, size in self.downs if at > now - policy["periodSeconds"] / self.speed)
            start = current + recent
            limits.append(int(start * (1 - policy["value"] / 100)) if policy["type"] == "Percent" else start - policy["value"])
        return min(current, (min if rules.get("selectPolicy", "Max") == "Max" else max)(limits))
