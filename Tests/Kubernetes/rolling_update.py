"""An update of all three services under load, replica after replica as a Deployment does it (one more first, then one less):
old and new programs side by side, schema N and N + 1. Of 50,000 requests none may fail.

OLD_BINARIES names the programs of an earlier release. Without it the same programs are taken for old, and the next schema is
the present one with what an expanding migration may add."""

import asyncio
import os
import pathlib
import random
import signal
import subprocess
import sys
import threading
import time

from system import System, binaries, free_port, wait_until

wanted = int(os.environ.get("REQUESTS", 50_000))
old = pathlib.Path(os.environ.get("OLD_BINARIES", binaries))
faults = []


class Endpoints:
    """What a Service is to its clients: new connections go to ready replicas, and it learns late who is ready."""

    def __init__(self, system, service):
        self.system, self.service, self.ready = system, service, []
        self.stopped = threading.Event()
        self.thread = threading.Thread(target=self.follow, daemon=True)
        self.thread.start()

    def follow(self):
        while not self.stopped.wait(0.7):
            self.ready = [each for each in list(self.system.of(self.service)) if each.ready()]

    def pick(self):
        return random.choice(self.ready)


class Relay(threading.Thread):
    """The Service of anomaly-propagation: a port that hands each connection to one ready replica."""

    def __init__(self, endpoints):
        super().__init__(daemon=True)
        self.endpoints, self.port = endpoints, free_port()
        self.start()

    def run(self):
        asyncio.run(self.serve())

    async def serve(self):
        server = await asyncio.start_server(self.accept, "127.0.0.1", self.port)
        async with server:
            await server.serve_forever()

    async def accept(self, reader, writer):
        try:
            other_reader, other_writer = await asyncio.open_connection("127.0.0.1", self.endpoints.pick().port)
        except (OSError, IndexError):
            writer.close()
            return
        await asyncio.gather(self.copy(reader, other_writer), self.copy(other_reader, writer))

    @staticmethod
    async def copy(reader, writer):
        try:
            while data := await reader.read(65536):
                writer.write(data)
                await writer.drain()
        except OSError:
            pass
        finally:
            writer.close()


class Client(threading.Thread):
    """Keeps a connection as long as the gateway does; counts every answer that is none of 2xx, and every broken exchange."""

    def __init__(self, system, endpoints, results, goal, pause=0.0, events=40):
        super().__init__(daemon=True)
        self.system, self.endpoints, self.results, self.goal, self.pause, self.events = system, endpoints, results, goal, pause, events
        self.start()

    def run(self):
        connection, turn = None, random.randrange(1000)
        while len(self.results) < self.goal:
            turn += 1
            time.sleep(self.pause)
            path = ("/v1/correlation-graph?eventId=e%d" % (turn % self.events), "/v1/events?limit=5", "/v1/domains", "/v1/anomalies?limit=2", "/v1/forecasts?limit=2")[turn % 5]
            try:
                if connection is None:
                    connection = self.system.connection(self.endpoints.pick())
                if turn % 10 == 0:
                    body = [{"domain": "update", "event": f"e{turn % 40}", "market": "m", "venue": "abc"[turn % 3], "time": 1_700_000_000_000 + turn * 1000, "value": turn % 7}]
                    status, text = self.system.request("POST", "/v1/observations", body, connection, {"Idempotency-Key": f"{id(self)}-{turn}"})
                else:
                    status, text = self.system.request("GET", path, None, connection)
                failure = None if status < 300 else f"{path}: {status} {text[:200]}"
                if connection.sock is None:
                    # The gateway said that it closes: the next request makes a new connection.
                    connection = None
            except Exception as error:
                failure, connection = f"{path}: {error!r}", None
            self.results.append(failure)


def migrate_further(system):
    """N + 1: by the new programs when they know more than the old ones, else what expanding may add."""
    before = system.sql("SELECT max(number) FROM schema_migrations")
    system.command("graph-builder", "migrate")
    after = system.sql("SELECT max(number) FROM schema_migrations")
    if after == before:
        system.sql("ALTER TABLE nodes ADD COLUMN of_the_next_release text; ALTER TABLE anomalies ADD COLUMN of_the_next_release bigint DEFAULT 0; CREATE TABLE of_the_next_release (id bigint PRIMARY KEY)")
        system.sql(f"INSERT INTO schema_migrations (number, name, checksum) VALUES ({int(before) + 1}, 'next', 0)")
    return before, int(before) + 1 if after == before else after


def main():
    settings = {service: {"SHUTDOWN_DRAIN_SECONDS": 3} for service in ("gateway", "graph-builder", "anomaly-propagation")}
    with System(settings=settings) as system:
        if old != binaries:
            system.sql("DROP SCHEMA public CASCADE; CREATE SCHEMA public")
            subprocess.run([old / "graph-builder", "migrate"], check=True, stdout=subprocess.DEVNULL, env={"DATABASE_URL": system.dsn, "PATH": os.environ["PATH"]})
        anomalies = Endpoints(system, "anomaly-propagation")
        relay = Relay(anomalies)
        settings["gateway"]["UPSTREAM_ANOMALY_PROPAGATION"] = f"http://127.0.0.1:{relay.port}"
        older = {"DATABASE_URL_FILE": "", "DATABASE_URL": system.dsn, "UNDERCURRENT_COMMIT": "old"}
        for service in ("graph-builder", "anomaly-propagation", "gateway"):
            for _ in range(2):
                system.start(service, extra=older, program=old / service)
        wait_until(10, lambda: len(anomalies.ready) == 2, "the relay has no end")
        text = system.command("gateway", "keys", "create", "--caller", "update", "--scopes", "ingest,read,configure")
        system.key = next(word for word in text.split() if word.startswith("uc_"))
        wait_until(10, lambda: system.request("GET", "/v1/domains")[0] == 200, "the key is not accepted")
        rows = [{"domain": "update", "event": f"e{event}", "market": "m", "venue": venue, "time": 1_690_000_000_000 + second * 1000, "value": (second * 7 + event) % 11}
                for second in range(60) for event in range(40) for venue in "abc"]
        system.request("POST", "/v1/observations", rows)
        wait_until(60, lambda: all(system.request("GET", f"/v1/correlation-graph?eventId=e{event}")[0] == 200 for event in range(40)), "events have no graph")
        doors = Endpoints(system, "gateway")
        wait_until(10, lambda: len(doors.ready) == 2, "the gateways are not ready")
        results = []
        clients = [Client(system, doors, results, wanted) for _ in range(12)]
        began = time.monotonic()
        time.sleep(2)
        before, after = migrate_further(system)
        steps = []
        for service in ("graph-builder", "anomaly-propagation", "gateway"):
            for replica in list(system.of(service)):
                system.start(service, extra={"UNDERCURRENT_COMMIT": "new"})
                time.sleep(1.5)
                code = system.stop_replica(replica, signal.SIGTERM)
                steps.append(f"{len(results)} {replica.pod}")
                if code != 0:
                    faults.append(f"{replica.pod} ended with {code}")
        updated_at = len(results)
        for client in clients:
            client.join(600)
        seconds = time.monotonic() - began
        if updated_at >= wanted:
            faults.append(f"the update took longer than the {wanted} requests")
        anomalies.stopped.set()
        doors.stopped.set()
    failed = [each for each in results if each]
    faults.extend(sorted(set(failed))[:12])
    if failed:
        faults.append(f"{len(failed)} of {len(results)} requests failed")
    for fault in faults:
        print(fault)
    print("replaced at request " + ", ".join(steps))
    print(f"{len(results)} requests in {seconds:.0f} s over an update of six replicas, schema {before} to {after}: {len(failed)} failed")
    sys.exit(1 if faults else 0)


if __name__ == "__main__":
    main()
