"""The autoscalers react: load steps on running services, metrics read through the adapter's own queries, the rule of Kubernetes
(autoscaler.py) with the rendered behavior applied to start and stop replicas: 1, 4 and 1 again, without a failed request,
shards spread anew each time, no change while the load is steady.

Clocks run ten times as fast as in Kubernetes: 30 s for 300, 3 for 30, 6 for 60. PICTURE=FILE draws the timeline."""

import os
import re
import sys
import threading
import time

import chart
import yaml
from autoscaler import Autoscaler
from rolling_update import Client, Endpoints
from system import System, root, wait_until

speed = 10
faults = []
#: What a replica may use before another one is wanted; small, so that a machine of two cores, at work for others too, has room for four.
cpu_request = 0.12


def rendered(name):
    values = chart.merged(chart.values_of("values-production.yaml"), {
        key: {"autoscaling": {"minReplicas": 1, "maxReplicas": 4}} for key in ("gateway", "graphBuilder", "anomalyPropagation")})
    return next(each["spec"] for each in chart.render(values) if each["kind"] == "HorizontalPodAutoscaler" and each["metadata"]["name"] == name)


def adapter_query(metric, pods):
    rules = yaml.safe_load((root / "monitoring" / "prometheus-adapter.yaml").read_text())["rules"]
    rule = next(each for each in rules if each["name"]["as"] == metric)
    name = rule["seriesQuery"].split("{")[0]
    text = rule["metricsQuery"].replace("<<.Series>>", name).replace("<<.GroupBy>>", "pod")
    text = text.replace("<<.LabelMatchers>>", f'namespace="undercurrent",pod=~"{"|".join(pods)}"')
    return re.sub(r"\[1m\]", f"[{60 // speed}s]", text)


def mean(system, query, pods):
    """What the controller makes of an answer; None while there is none."""
    found = {each["metric"]["pod"]: float(each["value"][1]) for each in system.query(query)}
    return sum(found.values()) / len(pods) if found else None


class Scaled:
    """One Deployment with its autoscaler."""

    def __init__(self, system, service, hold_cpu):
        self.system, self.service, self.hold_cpu = system, service, hold_cpu
        self.scaler = Autoscaler(rendered(f"undercurrent-{service}"), speed)
        self.changes, self.busy = [], threading.Lock()
        self.leaving = set()

    def running(self):
        return [each for each in self.system.of(self.service) if each not in self.leaving]

    def metrics(self):
        pods = [each.pod for each in self.running()]
        found = []
        for metric in self.scaler.spec["metrics"]:
            if metric["type"] == "Resource":
                query = f'sum by (pod) (rate(process_cpu_seconds_total{{pod=~"{"|".join(pods)}"}}[{60 // speed}s])) / {cpu_request} * 100'
                found.append(("cpu", mean(self.system, query, pods), float(metric["resource"]["target"]["averageUtilization"])))
            else:
                target = float(metric["pods"]["target"]["averageValue"])
                found.append((metric["pods"]["metric"]["name"], mean(self.system, adapter_query(metric["pods"]["metric"]["name"], pods), pods), target))
        return found

    def sync(self, now):
        found = self.metrics()
        current = len(self.running())
        wanted = self.scaler.decide(now, current, [(value, target) for _, value, target in found])
        if wanted != current:
            self.changes.append((now, current, wanted))
            print(f"  {now:6.1f} s {self.service} {current} -> {wanted} " + ", ".join(f"{name} {value:.3g} of {target:g}" for name, value, target in found if value is not None), flush=True)
        for _ in range(wanted - current):
            self.system.start(self.service)
        for replica in self.running()[::-1][: max(0, current - wanted)]:
            self.leaving.add(replica)
            threading.Thread(target=self.system.stop_replica, args=(replica,), daemon=True).start()
        return current, found


class Feed(threading.Thread):
    """Sends observations of 20 events at a rate that can be changed: what graph-builder has to evaluate."""

    def __init__(self, system, doors):
        super().__init__(daemon=True)
        self.system, self.doors, self.ticks, self.stopped, self.failed = system, doors, 0.0, threading.Event(), []
        self.second = 1_700_000_000
        self.start()

    def run(self):
        connection = None
        while not self.stopped.is_set():
            if self.ticks == 0:
                time.sleep(0.1)
                continue
            began = time.monotonic()
            rows = [{"domain": "scale", "event": f"e{event}", "market": market, "venue": venue, "time": self.second * 1000, "value": (self.second * 31 + event * 7 + len(venue)) % 101}
                    for event in range(20) for market in ("m", "n") for venue in ("a", "bb")]
            self.second += 1
            try:
                connection = connection or self.system.connection(self.doors.pick())
                status, text = self.system.request("POST", "/v1/observations", rows, connection)
                if status >= 300:
                    self.failed.append(f"ingest: {status} {text[:100]}")
                if connection.sock is None:
                    connection = None
            except Exception as error:
                self.failed.append(f"ingest: {error!r}")
                connection = None
            time.sleep(max(0, 1 / self.ticks - (time.monotonic() - began)))


def shards(system):
    return {each["metric"]["pod"]: int(float(each["value"][1])) for each in system.query("graph_builder_shards")}


def draw(path, timeline, steps):
    import matplotlib
    matplotlib.use("Agg")
    from matplotlib import pyplot
    figure, axes = pyplot.subplots(4, 1, figsize=(9, 9), sharex=True)
    times = [each["time"] for each in timeline]
    axes[0].step(times, [each["replicas"] for each in timeline], where="post", color="#1b6ca8")
    axes[0].set_ylabel("replicas")
    axes[0].set_ylim(0, 5)
    axes[1].plot(times, [each["cpu"] for each in timeline], color="#c0392b")
    axes[1].axhline(timeline[0]["target"], color="#888888", linestyle="--", linewidth=1)
    axes[1].set_ylabel("CPU, % of request")
    for pod in sorted({pod for each in timeline for pod in each["shards"]}, key=lambda pod: int(pod.rsplit("-", 1)[1])):
        axes[2].step(times, [each["shards"].get(pod, 0) for each in timeline], where="post", label=pod)
    axes[2].set_ylabel("shards held")
    axes[2].legend(fontsize=7, loc="center right")
    axes[3].plot(times, [each["rate"] for each in timeline], color="#2e7d32", label="requests/s")
    axes[3].step([at for at, _ in steps] + [times[-1]], [ticks for _, ticks in steps] + [steps[-1][1]], where="post", color="#8e44ad", label="data, ticks/s")
    axes[3].legend(fontsize=7)
    axes[3].set_xlabel("s (clocks of the autoscaler ten times as fast as in Kubernetes)")
    for axis in axes:
        axis.grid(alpha=0.3)
    figure.tight_layout()
    figure.savefig(path)


def main():
    low, high = 0.2, float(os.environ.get("TICKS", 7))
    settings = {service: {"SHUTDOWN_DRAIN_SECONDS": 2, "LEASE_SECONDS": 4, "USE_WORKER_THREADS": "false"} for service in ("graph-builder",)}
    with System(settings=settings) as system:
        system.start_all()
        system.start_prometheus()
        doors = Endpoints(system, "gateway")
        wait_until(10, lambda: doors.ready, "no gateway is ready")
        feed = Feed(system, doors)
        feed.ticks = 8
        wait_until(60, lambda: system.request("GET", "/v1/correlation-graph?eventId=e19")[0] == 200, "no graph")
        feed.ticks = low
        results = []
        goal = 10**9
        clients = [Client(system, doors, results, goal, pause=0.1, events=20) for _ in range(2)]
        # What the warming up has cost is out of the windows, and all of it is evaluated.
        wait_until(60, lambda: system.value("sum(graph_builder_pending_buckets)") == 0, "the beginning is not evaluated")
        time.sleep(10)
        scaled = Scaled(system, "graph-builder", cpu_request)
        began = time.monotonic()
        timeline, steps, reached, answered, asked = [], [(0.0, low)], None, len(results), -1.5
        phase, flaps = "low", 0
        while True:
            now = time.monotonic() - began
            current, found = scaled.sync(now)
            timeline.append({"time": now, "replicas": current, "cpu": found[0][1] or 0, "target": found[0][2], "shards": shards(system), "rate": (len(results) - answered) / max(0.1, now - asked)})
            answered, asked = len(results), now
            if len(timeline) % 10 == 0:
                print(f"  {now:6.1f} s {current} replicas, " + ", ".join(f"{name} {value:.3g}" for name, value, _ in found if value is not None)
                      + f", {system.value('sum(graph_builder_pending_buckets)'):g} buckets wait, {timeline[-1]['rate']:.0f} reads/s", flush=True)
            if phase == "low" and now > 20:
                phase, feed.ticks = "high", high
                steps.append((now, high))
                if current != 1:
                    faults.append(f"{current} replicas before the load")
            elif phase == "high" and current == 4 and reached is None:
                reached = now
            elif phase == "high" and reached is not None and now > reached + 30 and (sorted(shards(system).values()) == [16] * 4 or now > reached + 75):
                held = shards(system)
                if sorted(held.values()) != [16] * 4:
                    faults.append(f"shards of four replicas: {held}")
                flaps = sum(1 for at, _, _ in scaled.changes if at > reached + 1)
                phase, feed.ticks = "down", low
                steps.append((now, low))
            elif phase == "down" and current == 1 and not system.of("graph-builder")[1:]:
                wait_until(40, lambda: list(shards(system).values()) == [64], "one replica does not hold all shards")
                break
            if now > 300:
                faults.append(f"still {current} replicas in phase {phase} after {now:.0f} s")
                break
            time.sleep(max(0, 15 / speed - (time.monotonic() - began - now)))
        timeline.append({**timeline[-1], "time": time.monotonic() - began, "replicas": len(scaled.running()), "shards": shards(system)})
        feed.stopped.set()
        for client in clients:
            client.goal = 0
        for client in clients:
            client.join(20)
        doors.stopped.set()
    failed = [each for each in results if each] + feed.failed
    faults.extend(sorted(set(failed))[:8])
    if failed:
        faults.append(f"{len(failed)} of {len(results)} requests failed")
    if flaps:
        faults.append(f"{flaps} changes at steady load")
    path = [1, *(after for _, _, after in scaled.changes)]
    if max(path) != 4 or path[-1] != 1:
        faults.append(f"replicas went {path}")
    if os.environ.get("PICTURE"):
        draw(os.environ["PICTURE"], timeline, steps)
    for fault in faults:
        print(fault)
    print(f"replicas {' -> '.join(map(str, path))}, {len(results)} reads, {len(failed)} failed, {len(faults)} faults")
    sys.exit(1 if faults else 0)


if __name__ == "__main__":
    main()
