"""Long HTTP/2 connections to two gateways that are restarted in turn: no request is lost (RFC 9113, section 6.8). A request that
came after the last one named by GOAWAY was never worked on and is asked again; any other must be answered with 200.
Usage: h2_restart.py CA_FILE TOKEN PATH REQUESTS PORT...   Ends when that many are answered; exit 1 when one was lost."""

import collections
import itertools
import socket
import ssl
import struct
import sys
import threading
import time

import hpack
from hyperframe.frame import DataFrame, Frame, GoAwayFrame, HeadersFrame, PingFrame, RstStreamFrame, SettingsFrame

CA, TOKEN, PATH, REQUESTS = sys.argv[1:4] + [int(sys.argv[4])]
PORTS = [int(port) for port in sys.argv[5:]]
CONNECTIONS, STREAMS = 4, 8
REFUSED = 7

tally = collections.Counter()
lost = []
lock = threading.Lock()
ports = itertools.cycle(PORTS)


def note(what, detail=None):
    with lock:
        tally[what] += 1
        if detail is not None:
            lost.append(detail)


def is_over():
    with lock:
        return tally["answered"] >= REQUESTS


def frame(kind, flags, stream, payload=b""):
    return struct.pack(">I", len(payload))[1:] + bytes([kind, flags]) + struct.pack(">I", stream) + payload


def connect():
    """A connection to whichever gateway takes one, as a balancer finds it."""
    context = ssl.create_default_context(cafile=CA)
    context.check_hostname = False
    context.set_alpn_protocols(["h2"])
    deadline = time.time() + 30
    while time.time() < deadline:
        with lock:
            port = next(ports)
        try:
            return context.wrap_socket(socket.create_connection(("127.0.0.1", port), 2), server_hostname="localhost")
        except OSError:
            time.sleep(0.05)
    raise SystemExit("no gateway takes a connection")


class Connection:
    def __init__(self):
        self.socket = connect()
        self.socket.settimeout(20)
        self.encoder, self.decoder = hpack.Encoder(), hpack.Decoder()
        self.open, self.status, self.body, self.next = set(), {}, collections.defaultdict(bytes), 1
        self.may_ask = True
        self.buffer = b""
        # As much as may ever come in on the connection: it is not what is measured here.
        self.socket.sendall(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + frame(4, 0, 0) + frame(8, 0, 0, struct.pack(">I", 2**30)))
        self.credit = 2**30

    def ask(self):
        fields = [(":method", "GET"), (":path", PATH), (":scheme", "https"), (":authority", "localhost"),
                  ("authorization", f"Bearer {TOKEN}")]
        self.socket.sendall(frame(1, 0x5, self.next, self.encoder.encode(fields)))
        self.open.add(self.next)
        self.next += 2

    def run(self):
        while True:
            while self.may_ask and len(self.open) < STREAMS and not is_over():
                self.ask()
            if not self.open:
                return
            data = self.socket.recv(1 << 16)
            if not data:
                raise ConnectionError(f"closed with {len(self.open)} requests open")
            self.buffer += data
            while len(self.buffer) >= 9:
                head, length = Frame.parse_frame_header(memoryview(self.buffer[:9]))
                if len(self.buffer) < 9 + length:
                    break
                head.parse_body(memoryview(self.buffer[9:9 + length]))
                self.buffer = self.buffer[9 + length:]
                self.take(head)

    def take(self, got):
        if isinstance(got, SettingsFrame) and "ACK" not in got.flags:
            self.socket.sendall(frame(4, 1, 0))
        elif isinstance(got, PingFrame) and "ACK" not in got.flags:
            self.socket.sendall(frame(6, 1, 0, got.opaque_data))
        elif isinstance(got, GoAwayFrame):
            self.may_ask = False
            if got.error_code != 0:
                note("lost", f"GOAWAY with code {got.error_code}")
            for stream in [stream for stream in self.open if stream > got.last_stream_id]:
                self.open.discard(stream)
                note("asked again")
        elif isinstance(got, RstStreamFrame):
            if got.stream_id in self.open:
                self.open.discard(got.stream_id)
                note(*(["asked again"] if got.error_code == REFUSED else ["lost", f"reset with code {got.error_code}"]))
        elif isinstance(got, HeadersFrame):
            fields = dict(self.decoder.decode(got.data))
            self.status.setdefault(got.stream_id, fields.get(":status"))
            self.end(got)
        elif isinstance(got, DataFrame):
            self.credit -= got.flow_controlled_length
            if self.credit < 2**29:
                self.socket.sendall(frame(8, 0, 0, struct.pack(">I", 2**29)))
                self.credit += 2**29
            self.body[got.stream_id] += got.data
            self.end(got)

    def end(self, got):
        if "END_STREAM" in got.flags and got.stream_id in self.open:
            self.open.discard(got.stream_id)
            status, body = self.status.pop(got.stream_id, None), self.body.pop(got.stream_id, b"")
            note("answered") if status == "200" else note("lost", f"status {status}: {body.decode()[:300]}")


def client():
    while not is_over():
        connection = Connection()
        note("connections")
        try:
            connection.run()
        except (OSError, ConnectionError) as error:
            for _ in connection.open:
                note("lost", str(error))
        connection.socket.close()


threads = [threading.Thread(target=client) for _ in range(CONNECTIONS)]
for thread in threads:
    thread.start()
for thread in threads:
    thread.join()
print(f"restarts over HTTP/2: {tally['answered']} answered, {tally['lost']} lost, {tally['asked again']} asked again after "
      f"GOAWAY, {tally['connections']} connections")
for line in lost[:5]:
    print(f"  lost: {line}")
sys.exit(1 if lost or tally["answered"] < REQUESTS or tally["connections"] <= CONNECTIONS else 0)
