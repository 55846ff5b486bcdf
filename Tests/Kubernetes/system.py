"""The whole system as processes of this machine, for the checks that need it running: a private PostgreSQL, any number of
replicas of the three services, and a real Prometheus that finds them as it finds pods."""

import base64
import http.client
import json
import os
import pathlib
import pwd
import shutil
import signal
import socket
import ssl
import subprocess
import tempfile
import time
import urllib.parse
import urllib.request

import yaml

root = pathlib.Path(__file__).resolve().parents[2]
binaries = pathlib.Path(os.environ["BINARIES"])
services = ("graph-builder", "anomaly-propagation", "gateway")


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def wait_until(seconds, condition, what):
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        try:
            value = condition()
        except OSError:
            value = None
        if value:
            return value
        time.sleep(0.2)
    raise TimeoutError(f"{what} after {seconds} s")


class Replica:
    def __init__(self, service, number, port, metrics_port, process):
        self.service, self.number, self.port, self.metrics_port, self.process = service, number, port, metrics_port, process
        self.pod = f"{service}-{number}"

    def alive(self):
        return self.process.poll() is None

    def ready(self):
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self.metrics_port}/readyz", timeout=4) as answer:
                return answer.status == 200
        except OSError:
            return False


class System:
    """Everything stands in a folder of its own and ends with the `with` block."""

    def __init__(self, scrape_seconds=1, settings=None):
        self.folder = pathlib.Path(tempfile.mkdtemp(prefix="uc-k8s-"))
        self.folder.chmod(0o755)
        self.replicas, self.number, self.processes = [], 0, []
        self.scrape_seconds, self.settings = scrape_seconds, settings or {}
        self.prometheus_url, self.key, self.postgres_settings = None, None, []

    def __enter__(self):
        try:
            self.start_postgres()
            self.make_secrets()
            self.command("graph-builder", "migrate")
        except BaseException:
            self.stop()
            raise
        return self

    def __exit__(self, *_):
        self.stop()

    # PostgreSQL

    def postgres_program(self, name):
        found = sorted(pathlib.Path("/usr/lib/postgresql").glob(f"*/bin/{name}"), key=lambda path: int(path.parts[4]))
        return str(found[-1])

    def as_postgres(self, *command, **options):
        """PostgreSQL refuses root."""
        if os.geteuid() == 0:
            user = pwd.getpwnam("postgres")
            options |= {"user": user.pw_uid, "group": user.pw_gid, "cwd": "/"}
        return subprocess.run(command, check=True, stdout=subprocess.DEVNULL, **options)

    def start_postgres(self):
        cluster = self.folder / "postgres"
        cluster.mkdir(mode=0o700)
        if os.geteuid() == 0:
            user = pwd.getpwnam("postgres")
            os.chown(cluster, user.pw_uid, user.pw_gid)
        self.cluster = str(cluster)
        self.as_postgres(self.postgres_program("initdb"), "-D", f"{cluster}/data", "-U", "undercurrent", "-A", "trust", "--locale=C", "-E", "UTF8", "--no-sync")
        self.postgres_port = free_port()
        self.postgres("start")
        subprocess.run([self.postgres_program("createdb"), "-h", "127.0.0.1", "-p", str(self.postgres_port), "-U", "undercurrent", "undercurrent"], check=True)
        self.dsn = f"postgres://undercurrent@127.0.0.1:{self.postgres_port}/undercurrent"

    def postgres(self, action, mode="fast"):
        options = f"-c port={self.postgres_port} -c listen_addresses=127.0.0.1 -c unix_socket_directories='' -c fsync=off -c max_connections=200"
        extra = ["-o", options] if action == "start" else ["-m", mode]
        self.as_postgres(self.postgres_program("pg_ctl"), "-D", f"{self.cluster}/data", "-w", "-t", "60", "-l", f"{self.cluster}/log", *extra, action)

    def sql(self, statement):
        done = subprocess.run([self.postgres_program("psql"), "-qAtX", self.dsn, "-c", statement], capture_output=True, text=True, check=True)
        return done.stdout.strip()

    # Secrets as the pods see them: files

    def make_secrets(self, days=365):
        (self.folder / "caller").write_bytes(base64.b64encode(os.urandom(48)) + b"\n")
        (self.folder / "database").write_text(self.dsn + "\n")
        self.make_certificate(days)

    def make_certificate(self, days):
        new = [self.folder / "tls.key.new", self.folder / "tls.crt.new"]
        subprocess.run(["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", str(days),
                        "-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost,IP:127.0.0.1", "-keyout", str(new[0]), "-out", str(new[1])],
                       check=True, stderr=subprocess.DEVNULL)
        for path in new:
            path.replace(path.with_suffix(""))
        self.tls = ssl.create_default_context(cafile=str(self.folder / "tls.crt"))

    # Services

    def environment(self, service, port, metrics_port, extra=None):
        values = {
            "HTTP_PORT": port, "METRICS_PORT": metrics_port, "DATABASE_URL_FILE": self.folder / "database",
            "CALLER_TOKEN_SECRET_FILE": self.folder / "caller", "SHUTDOWN_DRAIN_SECONDS": 1, "LOG_FORMAT": "json", "DATABASE_POOL_MAX": 6,
            # Many replicas share few cores here; the chart sets 50 (database.queryTimeoutMs).
            "QUERY_TIMEOUT_MS": 2000,
        }
        if service == "gateway":
            values |= {"TLS_CERTIFICATE_FILE": self.folder / "tls.crt", "TLS_KEY_FILE": self.folder / "tls.key",
                       "RATE_LIMITER_TOKENS": 100000, "RATE_LIMITER_REFILL_RATE": 100000}
            known = [f"http://127.0.0.1:{each.port}" for each in self.replicas if each.service == "anomaly-propagation"]
            if known:
                values["UPSTREAM_ANOMALY_PROPAGATION"] = ",".join(known)
        values |= self.settings.get(service, {}) | (extra or {})
        return {"PATH": os.environ["PATH"], "TZ": "UTC", **{name: str(value) for name, value in values.items()}}

    def command(self, service, *arguments, extra=None):
        environment = self.environment(service, free_port(), free_port(), extra)
        done = subprocess.run([binaries / service, *arguments], env=environment, capture_output=True, text=True, timeout=120)
        if done.returncode != 0:
            raise RuntimeError(f"{service} {arguments}: {done.stdout}{done.stderr}")
        return done.stdout

    def start(self, service, extra=None, program=None, wrapper=()):
        self.number += 1
        port, metrics_port = free_port(), free_port()
        log = open(self.folder / f"{service}-{self.number}.log", "wb")
        process = subprocess.Popen([*wrapper, program or binaries / service, "serve"], env=self.environment(service, port, metrics_port, extra),
                                   stdout=log, stderr=log, stdin=subprocess.DEVNULL, start_new_session=True)
        replica = Replica(service, self.number, port, metrics_port, process)
        self.replicas.append(replica)
        wait_until(60, lambda: replica.ready() or not replica.alive(), f"{replica.pod} is not ready")
        if not replica.alive():
            raise RuntimeError((self.folder / f"{replica.pod}.log").read_text()[-2000:])
        self.tell_prometheus()
        return replica

    def start_all(self):
        for service in services:
            self.start(service)
        if self.key is None:
            text = self.command("gateway", "keys", "create", "--caller", "checks", "--scopes", "ingest,read,configure,admin")
            self.key = next(word for word in text.split() if word.startswith("uc_"))
            wait_until(10, lambda: self.request("GET", "/v1/domains")[0] == 200, "the key is not accepted")

    def of(self, service):
        return [each for each in self.replicas if each.service == service]

    def stop_replica(self, replica, how=signal.SIGTERM):
        replica.process.send_signal(how)
        try:
            replica.process.wait(40)
        except subprocess.TimeoutExpired:
            replica.process.kill()
            raise
        finally:
            self.replicas.remove(replica)
            self.tell_prometheus()
        return replica.process.returncode

    # Prometheus

    def tell_prometheus(self):
        """What discovery in Kubernetes would say of these processes, were they pods."""
        targets = [
            {"targets": [f"127.0.0.1:{each.metrics_port}"],
             "labels": {"__meta_kubernetes_pod_label_app_kubernetes_io_part_of": "undercurrent",
                        "__meta_kubernetes_pod_label_app_kubernetes_io_component": each.service,
                        "__meta_kubernetes_pod_container_port_name": "metrics",
                        "__meta_kubernetes_namespace": "undercurrent", "__meta_kubernetes_pod_name": each.pod}}
            for each in self.replicas
        ]
        path = self.folder / "targets.json"
        path.with_suffix(".new").write_text(json.dumps(targets))
        path.with_suffix(".new").replace(path)

    def start_prometheus(self, rules=None):
        """monitoring/prometheus.yaml with faster clocks; its discovery, which Debian leaves out, replaced by a file."""
        configuration = yaml.safe_load((root / "monitoring" / "prometheus.yaml").read_text())
        configuration["global"] = {"scrape_interval": f"{self.scrape_seconds}s", "scrape_timeout": f"{self.scrape_seconds}s", "evaluation_interval": f"{self.scrape_seconds}s"}
        del configuration["alerting"]
        job = configuration["scrape_configs"][0]
        del job["kubernetes_sd_configs"]
        job["file_sd_configs"] = [{"files": [str(self.folder / "targets.json")], "refresh_interval": "1s"}]
        folder = self.folder / "prometheus"
        (folder / "rules").mkdir(parents=True)
        for path in [*(root / "monitoring" / "rules").glob("*.yaml"), root / "monitoring" / "autoscaler-limits.yaml"]:
            text = path.read_text()
            (folder / "rules" / path.name).write_text(rules(text) if rules else text)
        configuration["rule_files"] = [str(folder / "rules" / "*.yaml")]
        (folder / "prometheus.yml").write_text(yaml.safe_dump(configuration))
        self.tell_prometheus()
        port = free_port()
        log = open(folder / "log", "wb")
        self.processes.append(subprocess.Popen(
            ["prometheus", f"--config.file={folder}/prometheus.yml", f"--storage.tsdb.path={folder}/data", f"--web.listen-address=127.0.0.1:{port}",
             "--enable-feature=exemplar-storage"], stdout=log, stderr=log, stdin=subprocess.DEVNULL, start_new_session=True))
        self.prometheus_url = f"http://127.0.0.1:{port}"
        wait_until(30, lambda: urllib.request.urlopen(self.prometheus_url + "/-/ready").status == 200, "Prometheus is not ready")

    def ask_prometheus(self, path, **parameters):
        url = f"{self.prometheus_url}/api/v1/{path}?{urllib.parse.urlencode(parameters, doseq=True)}"
        try:
            with urllib.request.urlopen(url, timeout=30) as answer:
                return json.load(answer)["data"]
        except urllib.error.HTTPError as error:
            raise ValueError(error.read().decode()) from None

    def query(self, expression):
        return self.ask_prometheus("query", query=expression)["result"]

    def value(self, expression):
        result = self.query(expression)
        return float(result[0]["value"][1]) if result else None

    # Requests

    def connection(self, gateway=None):
        gateway = gateway or self.of("gateway")[0]
        return http.client.HTTPSConnection("localhost", gateway.port, context=self.tls, timeout=35)

    def request(self, method, path, body=None, connection=None, headers=None):
        own = connection is None
        connection = connection or self.connection()
        try:
            fields = {"X-API-Key": self.key, "Cache-Control": "no-cache", **({"Content-Type": "application/json"} if body is not None else {}), **(headers or {})}
            connection.request(method, path, body=json.dumps(body) if body is not None else None, headers=fields)
            answer = connection.getresponse()
            return answer.status, answer.read()
        finally:
            if own:
                connection.close()

    def replay(self, *files, wait=True):
        key = self.folder / "key"
        key.write_text(self.key + "\n")
        done = subprocess.run([binaries / "graph-builder", "replay", "--url", f"https://localhost:{self.of('gateway')[0].port}", "--ca-file", self.folder / "tls.crt",
                               "--api-key-file", key, *(["--wait"] if wait else []), *files], capture_output=True, text=True, timeout=300, env={"PATH": os.environ["PATH"]})
        if done.returncode != 0:
            raise RuntimeError(done.stdout + done.stderr)

    def stop(self):
        for replica in self.replicas[::-1]:
            if replica.alive():
                replica.process.terminate()
        for replica in self.replicas:
            try:
                replica.process.wait(20)
            except subprocess.TimeoutExpired:
                replica.process.kill()
                replica.process.wait()
        for process in self.processes:
            process.terminate()
            process.wait(20)
        if (self.folder / "postgres" / "data" / "postmaster.pid").exists():
            self.postgres("stop", "immediate")
        if not os.environ.get("KEEP"):
            shutil.rmtree(self.folder, ignore_errors=True)
