"""The three images at work: read-only roots, user 10001, no capabilities, a memory limit. All recordings are replayed and the report
is printed by a container. Called by scripts/images-test.sh, which has built the images."""

import csv
import json
import os
import subprocess
import sys

from system import Replica, System, free_port, root, services, wait_until

podman = ["podman", "--cgroup-manager", "cgroupfs", "--runtime", "/usr/sbin/runc"]
memory = {"gateway": "512m", "graph-builder": "2g", "anomaly-propagation": "1g"}


class Containers(System):
    def run(self, service, environment, arguments, mounts=(), name=None):
        options = ["run", "--rm", "--network", "host", "--read-only", "--read-only-tmpfs=false", "--user", "10001:10001", "--cap-drop", "ALL",
                   "--security-opt", "no-new-privileges", "--tmpfs", "/tmp:size=64m,mode=1777", "--memory", memory[service], "--ulimit", "nofile=20000:20000", "--ulimit", "nproc=4096:4096",
                   "-v", f"{self.folder}:{self.folder}:ro", *(part for mount in mounts for part in ("-v", mount))]
        if name:
            options += ["--name", name]
        for key, value in environment.items():
            if key != "PATH":
                options += ["-e", f"{key}={value}"]
        return [*podman, *options, f"localhost/undercurrent/{service}:test", *arguments]

    def command(self, service, *arguments, extra=None):
        for path in ("caller", "database", "tls.key", "tls.crt"):
            (self.folder / path).chmod(0o644)
        environment = self.environment(service, free_port(), free_port(), extra)
        done = subprocess.run(self.run(service, environment, arguments), capture_output=True, text=True, timeout=120)
        if done.returncode != 0:
            raise RuntimeError(f"{service} {arguments}: {done.stdout}{done.stderr}")
        return done.stdout

    def start(self, service, extra=None, program=None, wrapper=()):
        self.number += 1
        port, metrics_port = free_port(), free_port()
        name = f"uc-{os.getpid()}-{service}"
        log = open(self.folder / f"{service}-{self.number}.log", "wb")
        environment = self.environment(service, port, metrics_port, extra)
        process = subprocess.Popen(self.run(service, environment, ["serve"], name=name), stdout=log, stderr=log, stdin=subprocess.DEVNULL, start_new_session=True)
        replica = Replica(service, self.number, port, metrics_port, process)
        replica.container = name
        self.replicas.append(replica)
        wait_until(90, lambda: replica.ready() or not replica.alive(), f"{service} is not ready")
        if not replica.alive():
            raise RuntimeError((self.folder / f"{service}-{self.number}.log").read_text()[-2000:])
        return replica


def put_topologies(system):
    for name, path in (("nezha", "services-nezha/2022-08-22/graph.csv"), ("petshop", "services-petshop/low_traffic/graph.csv")):
        with open(root / "Samples" / path) as file:
            edges = [{"caller": line[0], "callee": line[1]} for line in list(csv.reader(file))[1:]]
        status, text = system.request("PUT", "/v1/topology", {"name": name, "edges": edges})
        assert status < 300, text


def recordings():
    petshop = root / "Samples" / "services-petshop" / "low_traffic"
    with open(petshop / "cases.csv") as file:
        cases = sorted(list(csv.reader(file))[1:], key=lambda line: int(line[6]))
    yield "", sorted((root / "Samples" / "market-btcjpy").glob("*.csv.gz"))
    yield "", sorted((root / "Samples" / "labelled-asd").glob("*.csv.gz"))
    yield "", [root / "Samples" / "services-nezha" / "2022-08-22" / "metrics.csv.gz"]
    yield "petshop-", [*(petshop / "cases" / f"{line[0]}.csv.gz" for line in cases), petshop / "normal.csv.gz"]


def client(system, *arguments):
    """graph-builder as a client, in a container of its own."""
    door = ["--url", f"https://localhost:{system.of('gateway')[0].port}", "--ca-file", f"{system.folder}/tls.crt", "--api-key-file", f"{system.folder}/key"]
    done = subprocess.run(system.run("graph-builder", {}, [*arguments[:1], *door, *arguments[1:]], mounts=[f"{root}/Samples:{root}/Samples:ro"]), capture_output=True, text=True, timeout=900)
    if done.returncode != 0:
        raise RuntimeError(f"{arguments[0]}: {done.stdout}{done.stderr}")
    return done.stdout


def inspect(replica):
    found = json.loads(subprocess.run([*podman, "inspect", replica.container], capture_output=True, text=True, check=True).stdout)[0]
    assert found["HostConfig"]["ReadonlyRootfs"] is True, "the root can be written"
    assert found["HostConfig"]["Memory"] > 0, "there is no memory limit"
    status = open(f"/proc/{found['State']['Pid']}/status").read()
    fields = dict(line.split(":\t", 1) for line in status.splitlines() if ":\t" in line)
    assert fields["Uid"].split() == ["10001"] * 4, fields["Uid"]
    assert int(fields["CapEff"], 16) == 0, fields["CapEff"]
    health = subprocess.run([*podman, "exec", replica.container, f"/usr/bin/{replica.service}", "healthcheck"], capture_output=True, text=True)
    assert health.returncode == 0, f"the health check of {replica.service}: {health.stdout}{health.stderr}"
    return int(fields["VmRSS"].split()[0]) // 1024


def main():
    with Containers() as system:
        system.start_all()
        for path in sorted((root / "Samples" / "profiles").glob("*.json")):
            status, text = system.request("PUT", f"/v1/domains/{path.stem}", json.loads(path.read_text()))
            assert status < 300, text
        put_topologies(system)
        (system.folder / "key").write_text(system.key + "\n")
        (system.folder / "key").chmod(0o644)
        for prefix, files in recordings():
            client(system, "replay", "--domain-prefix", prefix, *map(str, files))
        report = client(system, "report", "--samples", f"{root}/Samples", "--wait", "--answers", "/tmp/answers.json")
        print(report)
        for title in ("OBSERVATIONS", "STRONGEST EDGES", "TOP ANOMALIES", "FORECASTS", "ROOT CAUSES"):
            assert title in report, f"the report has no {title}"
        sizes = {replica.service: inspect(replica) for replica in system.replicas}
        codes = {}
        for replica in system.replicas[::-1]:
            codes[replica.service] = system.stop_replica(replica)
        assert set(codes.values()) == {0}, f"ended with {codes}"
    print("three containers, read-only, user 10001, without capabilities: the report was printed; resident MB "
          + ", ".join(f"{service} {sizes[service]}" for service in services))


if __name__ == "__main__":
    try:
        main()
    except AssertionError as error:
        print(error)
        sys.exit(1)
