"""Every rule of every alert made to fire by the fault it is for, on running services and a real Prometheus, and to resolve when the
fault is mended. Windows and waiting times are shortened (see `shortened`); what is broken each time is named. No sample is made
by hand."""

import json
import os
import random
import re
import signal
import subprocess
import sys
import tempfile
import threading
import time

import yaml
from system import System, root, wait_until

faults, lines, seen = [], [], set()
windows = {"5m": "6s", "10m": "8s", "30m": "12s", "1h": "10s", "2h": "12s", "3h": "40s", "6h": "14s", "1d": "90s", "3d": "20s"}


def shortened(text):
    """Rules with seconds for minutes and days; besides, thresholds that are long times or large sets get smaller."""
    text = re.sub(r"\[(\w+)\]", lambda match: f"[{windows[match[1]]}]", text)
    text = re.sub(r"for: \w+", "for: 2s", text)
    for old, new in (
        ("worker_lag_seconds) > 120", "worker_lag_seconds) > 4"),
        ("worker_last_progress_timestamp_seconds) > 120", "worker_last_progress_timestamp_seconds) > 4"),
        ("graph_builder_last_progress_timestamp_seconds) > 300", "graph_builder_last_progress_timestamp_seconds) > 5"),
        ("observation_partitions_room) < 60", "observation_partitions_room) < 3980"),
        ("retention_failures_total[40s])) > 1", "retention_failures_total[40s])) > 0"),
        ("forecast_intervals_total[90s])) >= 100", "forecast_intervals_total[90s])) >= 20"),
        ('forecast_intervals_total[90s]', 'forecast_intervals_total[30s]'),
        ('forecast_intervals_total{result="inside"}[90s]', 'forecast_intervals_total{result="inside"}[30s]'),
        ("expr: vector(20), labels: {job: gateway}", "expr: vector(2), labels: {job: gateway}"),
    ):
        text = text.replace(old, new)
    return text


class Load(threading.Thread):
    """Reads, over a connection that is made anew when it breaks; what is answered does not matter here."""

    def __init__(self, system, paths, pause=0.02):
        super().__init__(daemon=True)
        self.system, self.paths, self.pause, self.stopped = system, paths, pause, threading.Event()
        self.start()

    def run(self):
        connection = None
        while not self.stopped.is_set():
            for path in self.paths:
                try:
                    connection = connection or self.system.connection()
                    self.system.request("GET", path, None, connection)
                except Exception:
                    connection = None
                time.sleep(self.pause)

    def stop(self):
        self.stopped.set()


def wait_for(system, alert, firing, seconds):
    expression = f'ALERTS{{alertname="{alert[0]}",alertstate="firing"{alert[1]}}}'
    began = time.monotonic()
    while time.monotonic() - began < seconds:
        try:
            if bool(system.query(expression)) == firing:
                return time.monotonic() - began
        except (OSError, ValueError):
            pass
        time.sleep(0.5)
    return None


def scenario(system, broken, alerts, fault, mend, fire_seconds=60, resolve_seconds=90):
    """Alerts are names, or (name, further labels)."""
    alerts = [each if isinstance(each, tuple) else (each, "") for each in alerts]
    for alert in alerts:
        if wait_for(system, alert, False, 60) is None:
            faults.append(f"{alert}: fires before anything is broken")
    fault()
    fired = {}
    deadline = time.monotonic() + fire_seconds
    for alert in alerts:
        fired[alert] = wait_for(system, alert, True, max(1, deadline - time.monotonic()))
        if fired[alert] is None:
            faults.append(f"{alert}: does not fire; broken: {broken}")
    mend()
    for alert in alerts:
        resolved = wait_for(system, alert, False, resolve_seconds)
        if resolved is None:
            faults.append(f"{alert}: does not resolve; broken: {broken}")
        seen.update({alert[0], alert[0] + alert[1]})
        lines.append(f"{alert[0]}{alert[1].replace(',', ' ')}: broken {broken}; fired {fired[alert] is not None}, resolved {resolved is not None}")
        print(lines[-1], flush=True)


def send(system, rows, patience=0):
    """Ingest is idempotent, so a refused request is sent again for `patience` seconds."""
    for start in range(0, len(rows), 5000):
        deadline = time.monotonic() + patience
        while True:
            status, body = system.request("POST", "/v1/observations", rows[start : start + 5000])
            if status < 300 or time.monotonic() >= deadline:
                break
            time.sleep(0.5)
        if status >= 300:
            return status, body
    return 200, b""


def configure(system, **values):
    """The file that graph-builder looks at while it runs."""
    path = system.folder / "graph-builder.yaml"
    path.with_suffix(".new").write_text(json.dumps(values))
    path.with_suffix(".new").replace(path)


def row(domain, event, venue, second, value, market="m"):
    return {"domain": domain, "event": event, "market": market, "venue": venue, "time": second * 1000, "value": value}


def series(domain, event, venues, start, seconds, market="m"):
    chance = random.Random(f"{domain}{event}{start}")
    return [row(domain, event, venue, second, chance.gauss(0, 1), market) for second in range(start, start + seconds) for venue in venues]


class Lock:
    """A session that holds tables so that nobody else writes them."""

    def __init__(self, system, tables):
        program = system.postgres_program("psql")
        statement = f"BEGIN; LOCK TABLE {tables} IN EXCLUSIVE MODE; SELECT pg_sleep(300)"
        self.system, self.process = system, subprocess.Popen([program, "-qAtX", system.dsn, "-c", statement], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        time.sleep(0.5)

    def end(self):
        self.system.sql("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE query LIKE '%pg_sleep(300)%' AND pid <> pg_backend_pid()")
        self.process.wait(20)


def database_away(system):
    scenario(
        system, "PostgreSQL (stopped)",
        ["UndercurrentErrorRatioHigh", "UndercurrentDatabaseStarved", "UndercurrentShardMapOld", ("UndercurrentCircuitOpen", ',circuit="database"'),
         *(("UndercurrentAvailabilityBudgetBurn", f',window="{each}"') for each in ("1h", "6h", "1d", "3d"))],
        lambda: system.postgres("stop", "immediate"), lambda: system.postgres("start"))


def evaluation_stands_still(system):
    held = []
    scenario(system, "graph-builder (a session of psql holds the table evaluations)", ["UndercurrentEvaluationLagging"],
             lambda: (held.append(Lock(system, "evaluations")), send(system, series("still", "s", ["a", "b"], 1_600_000_000, 400))),
             lambda: held[0].end())


def evaluation_behind(system):
    """More comes than it may build; what waits is worked off when it may again."""
    rows = series("queue", "q", ["a", "b"], 1_600_000_000, 6500)

    def fault():
        configure(system, MAX_GRAPHS_PER_SECOND=1)
        time.sleep(4)
        status, text = send(system, rows, patience=30)
        if status >= 300:
            faults.append(f"ingest while evaluation is slow: {status} {text[:200]}")

    scenario(system, "graph-builder (configured to build one graph a second; 6,500 buckets sent)",
             [("UndercurrentQueueGrowing", ',severity="ticket"'), "UndercurrentEvaluationLagging", ("UndercurrentQueueGrowing", ',severity="page"')],
             fault, lambda: configure(system), resolve_seconds=200)


def layer_fails(system):
    """Data goes on coming, so that the layer is asked for, and left alone after five failures."""
    stop = threading.Event()

    def feed():
        second = 1_600_000_000
        while not stop.is_set():
            send(system, [*series("layers", "l", ["a", "b"], second, 5), *series("layers", "l", ["a", "b"], second, 5, market="n")])
            second += 5
            time.sleep(0.3)

    thread = threading.Thread(target=feed, daemon=True)

    def fault():
        thread.start()
        status, text = system.request("POST", "/v1/chaos", {"kind": "layer", "layer": "L2", "seconds": 25})
        if status != 200:
            faults.append(f"the trial is refused: {status} {text[:200]}")

    def mend():
        """The trial ends by itself; after the pause of the breaker one evaluation decides."""

    scenario(system, "graph-builder (its layer L2, by a chaos trial)",
             [("UndercurrentLayerDown", ',layer="L2"'), ("UndercurrentCircuitOpen", ',circuit="L2"')], fault, mend)
    stop.set()
    thread.join(30)


class Leader:
    """One node whose jumps 12 others follow two buckets later; how far they follow can be changed."""

    followers = 12

    def __init__(self):
        self.chance = random.Random(7)
        self.second, self.jumps = 1_600_000_000, 0
        self.changes, self.levels = [0.0, 0.0], [100.0] * (1 + self.followers)

    def rows(self, buckets, response):
        """`response(n)`: what the others make of the leader's n-th jump, in its units."""
        rows = []
        for _ in range(buckets):
            late = self.changes[-2]
            jumps = abs(late) > 5
            if jumps:
                self.jumps += 1
            factor = response(self.jumps) if jumps else 0.95
            change = self.chance.gauss(0, 1)
            if self.second % 10 == 0:
                change = self.chance.choice((-1, 1)) * self.chance.uniform(8, 10)
            self.changes.append(change)
            self.levels[0] += change
            for each in range(1, 1 + self.followers):
                self.levels[each] += factor * late + self.chance.gauss(0, 0.3)
            rows += [row("led", "led", "v", self.second, round(level, 4), market=f"m{number}") for number, level in enumerate(self.levels)]
            self.second += 1
        return rows


def intervals_wrong(system):
    """Intervals are learnt from jumps that are followed; then each jump is followed further than any before. (Were it followed the other
    way, the edge would go, and with it the forecasts.)"""
    profile = {"domain": "led", "bucketMs": 1000, "presentBuckets": 60, "baselineBuckets": 240, "lagBuckets": 3, "transform": "difference", "fill": "last", "periodMs": 0}
    status, text = system.request("PUT", "/v1/domains/led", profile)
    if status >= 300:
        faults.append(f"profile: {status} {text[:200]}")
    leader = Leader()
    send(system, leader.rows(800, lambda _: 0.95), patience=30)
    deadline = time.monotonic() + 120
    while (system.value("sum(forecast_intervals_total)") or 0) < 200 and time.monotonic() < deadline:
        time.sleep(1)
    # Nothing of the learning is in the alert's window any more.
    time.sleep(35)
    if (system.value("sum(forecast_intervals_total)") or 0) < 200:
        faults.append("too few forecasts have an interval")
    learnt = leader.jumps

    def fault():
        send(system, leader.rows(100, lambda jump: 0.95 + 1.5 ** (jump - learnt)), patience=30)

    scenario(system, "the data (what followed a leader overshoots, each time further)", ["UndercurrentForecastCalibrationOff"], fault,
             lambda: send(system, leader.rows(30, lambda _: 0.95), patience=30))


def worker_held(system):
    held = []

    def fault():
        held.append(Lock(system, "reader_positions, anomalies"))
        send(system, series("worker", "w", ["a", "b"], 1_600_000_000, 1500))

    scenario(system, "anomaly-propagation (a session of psql holds its tables)", ["UndercurrentWorkerBehind"], fault, lambda: held[0].end())


def killed_service(system):
    replica = system.of("anomaly-propagation")[0]

    def mend():
        system.replicas.remove(replica)
        system.start("anomaly-propagation", extra={"HTTP_PORT": replica.port})

    scenario(system, "anomaly-propagation (kill -9)", ["UndercurrentReplicaDown", "UndercurrentServiceAbsent"],
             lambda: (replica.process.kill(), replica.process.wait()), mend)


def certificate(system):
    scenario(system, "gateway (a certificate of two days)",
             [("UndercurrentCertificateExpiry", ',severity="ticket"'), ("UndercurrentCertificateExpiry", ',severity="page"')],
             lambda: system.make_certificate(2), lambda: system.make_certificate(365))


def memory_and_replicas(system):
    """A second gateway whose control group, as it sees it, allows little more than it needs."""
    made = []

    def fault():
        folder = tempfile.mkdtemp(dir=system.folder)
        first = system.of("gateway")[0]
        used = int(system.value(f'process_resident_memory_bytes{{pod="{first.pod}"}}'))
        script = f'mount -t tmpfs none /sys/fs/cgroup && echo {int(used * 0.9)} > /sys/fs/cgroup/memory.max && exec "$@"'
        made.append(system.start("gateway", wrapper=["unshare", "-m", "bash", "-c", script, folder]))

    scenario(system, "gateway (a second one, its memory limit below what it needs)",
             [("UndercurrentMemoryHigh", ',job="gateway"'), ("UndercurrentAutoscalerAtMaximum", ',job="gateway"')],
             fault, lambda: system.stop_replica(made[0]))


def ddl_refused(system):
    """Two at once: partitions of new days cannot be made, old ones cannot be retired."""
    send(system, [row("old", "o", "a", 1_600_000_000 + day * 86_400, day) for day in range(4)])

    def fault():
        system.sql("CREATE FUNCTION refuse() RETURNS event_trigger LANGUAGE plpgsql AS $$ BEGIN RAISE EXCEPTION 'refused'; END $$")
        system.sql("CREATE EVENT TRIGGER refuse ON ddl_command_start WHEN TAG IN ('CREATE TABLE', 'ALTER TABLE', 'DROP TABLE') EXECUTE FUNCTION refuse()")
        replica = system.start("graph-builder", extra={"OBSERVATION_RETENTION_DAYS": 1})
        stop = time.monotonic() + 75
        day = 10_000
        while time.monotonic() < stop:
            day += 1
            send(system, [row("new", "n", "a", day * 86_400, 1)])
            if wait_for(system, ("UndercurrentRetentionFailing", ""), True, 1) is not None:
                break
        fault.replica = replica

    def mend():
        system.sql("DROP EVENT TRIGGER refuse")
        system.stop_replica(fault.replica)

    scenario(system, "PostgreSQL (refuses to make and drop tables)", ["UndercurrentRetentionFailing", "UndercurrentPartitionsFailing"], fault, mend,
             fire_seconds=20, resolve_seconds=120)


def wrong_times(system):
    """The gauge tells what the replica saw when it last made partitions, so another replica takes over at the end."""
    def mend():
        system.start("graph-builder")
        system.stop_replica(system.of("graph-builder")[0])

    scenario(system, "graph-builder (a sender with wrong times makes partitions)", ["UndercurrentPartitionRoomLow"],
             lambda: send(system, [row("wrong", "x", "a", (12_000 + 3 * day) * 86_400, 1) for day in range(40)]), mend)


def stopped_builder(system):
    replica = system.of("graph-builder")[0]
    load = []

    def fault():
        replica.process.send_signal(signal.SIGSTOP)
        load.extend(Load(system, ["/v1/events", "/v1/domains"], 0) for _ in range(24))

    def mend():
        replica.process.send_signal(signal.SIGCONT)
        for each in load:
            each.stop()

    scenario(system, "graph-builder (SIGSTOP)", ["UndercurrentSheddingLoad"], fault, mend)


def slow_builder(system):
    replica, stop = system.of("graph-builder")[0], threading.Event()

    def pulse():
        while not stop.is_set():
            replica.process.send_signal(signal.SIGSTOP)
            time.sleep(0.6)
            replica.process.send_signal(signal.SIGCONT)
            time.sleep(0.1)

    thread = threading.Thread(target=pulse, daemon=True)
    scenario(system, "graph-builder (SIGSTOP for 0.6 of every 0.7 s)",
             [("UndercurrentLatencyBudgetBurn", f',window="{each}"') for each in ("1h", "6h", "1d", "3d")],
             thread.start, lambda: (stop.set(), thread.join(5)))


def large_event(system):
    stop = threading.Event()

    def feed():
        second = 1_600_000_000
        venues = [f"v{number}" for number in range(150)]
        while not stop.is_set():
            send(system, series("large", "l", venues, second, 20))
            second += 20

    thread = threading.Thread(target=feed, daemon=True)
    scenario(system, "graph-builder (an event of 150 nodes)", ["UndercurrentGraphBuildSlow"], thread.start, lambda: (stop.set(), thread.join(30)))


def leases(system):
    """The holder of all shards sleeps past its leases; another takes them; it wakes and finds them gone."""
    first = system.of("graph-builder")[0]

    def fault():
        first.process.send_signal(signal.SIGSTOP)
        time.sleep(4)
        fault.second = system.start("graph-builder", extra={"LEASE_SECONDS": 2})
        wait_until(60, lambda: system.value(f'graph_builder_shards{{pod="{fault.second.pod}"}}') == 64, "the other does not take all shards")
        first.process.send_signal(signal.SIGCONT)

    scenario(system, "graph-builder (SIGSTOP past its leases while another runs)", ["UndercurrentLeaseChurn"], fault,
             lambda: system.stop_replica(fault.second), resolve_seconds=60)


def ejected(system):
    """Killed, and still in the table of replicas and in the shard map until its leases end."""
    made = []

    def fault():
        made.append(system.start("graph-builder", extra={"LEASE_SECONDS": 60}))
        time.sleep(8)
        made[0].process.kill()
        made[0].process.wait()
        system.replicas.remove(made[0])

    scenario(system, "graph-builder (kill -9 while the gateway knows it)", ["UndercurrentReplicaEjected"], fault, lambda: None, resolve_seconds=150)


def dead_man(system):
    if wait_for(system, ("UndercurrentDeadMan", ""), True, 10) is None:
        faults.append("UndercurrentDeadMan: does not fire")
    seen.add("UndercurrentDeadMan")
    print("UndercurrentDeadMan: fires with nothing broken")


def main():
    scenarios = [dead_man, certificate, memory_and_replicas, killed_service, stopped_builder, slow_builder, database_away, evaluation_stands_still, evaluation_behind, worker_held, large_event,
                 layer_fails, intervals_wrong, leases, ejected, wrong_times, ddl_refused]
    chosen = sys.argv[1:]
    settings = {"graph-builder": {"LEASE_SECONDS": 2, "UNDERCURRENT_PROFILE": "development", "CHAOS_ENABLED": "true", "BREAKER_PAUSE_SECONDS": 5},
                "gateway": {"HTTP_MAX_IN_FLIGHT": 12}}
    with System(settings=settings) as system:
        settings["graph-builder"]["CONFIG_FILE"] = system.folder / "graph-builder.yaml"
        configure(system)
        system.start_all()
        system.start_prometheus(rules=shortened)
        load = Load(system, ["/v1/events", "/v1/domains", "/v1/anomalies?limit=1"])
        time.sleep(8)
        for each in scenarios:
            if not chosen or each.__name__ in chosen:
                began = time.monotonic()
                try:
                    each(system)
                except Exception as error:
                    faults.append(f"{each.__name__}: {error!r}")
                    for replica in system.replicas:
                        replica.process.send_signal(signal.SIGCONT)
                print(f"  ({each.__name__}: {time.monotonic() - began:.0f} s)", flush=True)
        load.stop()
    if not chosen:
        rules = yaml.safe_load((root / "monitoring" / "rules" / "alerts.yaml").read_text())
        rules = [rule for group in rules["groups"] for rule in group["rules"]]
        for rule in rules:
            name = rule["alert"]
            # Rules that share a name are told apart by a label.
            several = sum(1 for each in rules if each["alert"] == name) > 1
            wanted = {f'{name},{label}="{value}"' for label, value in rule["labels"].items()} if several else {name}
            if not wanted & seen:
                faults.append(f"{name} {rule['labels']}: no fault is known for it")
    for fault in faults:
        print(fault)
    print(f"{len(lines)} faults against {len({each.split(',')[0] for each in seen})} alerts, each to fire and to resolve, {len(faults)} failed")
    sys.exit(1 if faults else 0)


if __name__ == "__main__":
    if os.geteuid() != 0:
        print("a memory limit of its own needs root")
        sys.exit(77)
    main()
