"""HTTP/2 error handling (RFC 9113) of a running gateway: each case speaks wrongly on a connection of its own, looks at what
comes back, and asks on a new connection whether the gateway still answers. Usage: h2_cases.py HOST PORT CA_FILE TOKEN"""

import socket
import ssl
import struct
import sys
import time

import hpack
from hyperframe.frame import (
    ContinuationFrame, DataFrame, Frame, GoAwayFrame, HeadersFrame, PingFrame, RstStreamFrame, SettingsFrame,
    WindowUpdateFrame,
)

HOST, PORT, CA, TOKEN = sys.argv[1], int(sys.argv[2]), sys.argv[3], sys.argv[4]
PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
NO_ERROR, PROTOCOL, INTERNAL, FLOW, _, CLOSED, SIZE, REFUSED, CANCEL, COMPRESSION = range(10)
CALM = 11
CLOSE = "connection closed"


class Connection:
    def __init__(self, preface=PREFACE, settings=b""):
        context = ssl.create_default_context(cafile=CA)
        context.check_hostname = False
        context.set_alpn_protocols(["h2"])
        self.socket = context.wrap_socket(socket.create_connection((HOST, PORT), 5), server_hostname=HOST)
        self.socket.settimeout(4)
        self.encoder, self.decoder = hpack.Encoder(), hpack.Decoder()
        self.buffer = b""
        self.seen = []
        self.send(preface + (raw(4, 0, 0, settings) if preface == PREFACE else b""))

    def send(self, data):
        try:
            self.socket.sendall(data)
        except OSError:
            pass

    def headers(self, fields=(), method="GET", path="/livez", stream=1, end=True, complete=True, drop=()):
        pseudo = [(":method", method), (":path", path), (":scheme", "https"), (":authority", "localhost")]
        block = self.encoder.encode([field for field in pseudo if field[0] not in drop] + list(fields))
        flags = (0x1 if end else 0) | (0x4 if complete else 0)
        return raw(1, flags, stream, block)

    def frames(self, until=4.0):
        """Frames until the connection ends, the time is over or an answer is whole."""
        deadline = time.time() + until
        while time.time() < deadline:
            while len(self.buffer) >= 9:
                frame, length = Frame.parse_frame_header(memoryview(self.buffer[:9]))
                if len(self.buffer) < 9 + length:
                    break
                frame.parse_body(memoryview(self.buffer[9:9 + length]))
                self.buffer = self.buffer[9 + length:]
                yield frame
            self.socket.settimeout(max(0.05, deadline - time.time()))
            try:
                data = self.socket.recv(65536)
            except (TimeoutError, OSError) as error:
                if not isinstance(error, TimeoutError):
                    yield CLOSE
                return
            if not data:
                yield CLOSE
                return
            self.buffer += data

    def verdict(self, stream=1, until=4.0):
        """('goaway', code), ('reset', code), ('status', n), 'connection closed' or 'nothing'."""
        status = None
        for frame in self.frames(until):
            if frame == CLOSE:
                return status or CLOSE
            if isinstance(frame, GoAwayFrame) and frame.error_code != NO_ERROR:
                return ("goaway", frame.error_code)
            if isinstance(frame, RstStreamFrame) and frame.stream_id == stream:
                return status or ("reset", frame.error_code)
            if isinstance(frame, HeadersFrame) and frame.stream_id == stream:
                status = ("status", int(dict(self.decoder.decode(frame.data))[":status"]))
                if "END_STREAM" in frame.flags:
                    return status
            if isinstance(frame, DataFrame) and frame.stream_id == stream and "END_STREAM" in frame.flags:
                return status
        return status or "nothing"


def raw(kind, flags, stream, payload):
    return struct.pack(">I", len(payload))[1:] + bytes([kind, flags]) + struct.pack(">I", stream) + payload


def allowed(*codes):
    return {("goaway", code) for code in codes} | {CLOSE}


def stream_error(*codes):
    """RFC 9113, section 5.4.2: a stream error may be treated as a connection error, and a request be answered with 400."""
    return {("reset", code) for code in codes} | {("status", 400), ("status", 431)} | allowed(*codes)


CASES = []


def case(name, expected):
    def add(function):
        CASES.append((name, expected, function))
        return function
    return add


@case("6.3.4 a preface that is none", {CLOSE} | allowed(PROTOCOL))
def _(_c):
    return Connection(preface=b"GET / HTTP/1.1\r\nHost: a\r\n\r\n").verdict()


@case("4.2 a frame above the largest size", allowed(SIZE))
def _(c):
    c.send(c.headers(end=False, method="POST", path="/v1/observations") + raw(0, 0, 1, b"x" * 16385))
    return c.verdict()


@case("4.3 a header block that cannot be decoded", allowed(COMPRESSION))
def _(c):
    c.send(raw(1, 5, 1, b"\xff\xff\xff\xff\xff\x7f"))
    return c.verdict()


@case("5.1 DATA on an idle stream", allowed(PROTOCOL))
def _(c):
    c.send(raw(0, 1, 1, b"x"))
    return c.verdict()


@case("5.1 RST_STREAM on an idle stream", allowed(PROTOCOL))
def _(c):
    c.send(raw(3, 0, 1, struct.pack(">I", CANCEL)))
    return c.verdict()


@case("5.1 WINDOW_UPDATE on an idle stream", allowed(PROTOCOL))
def _(c):
    c.send(raw(8, 0, 1, struct.pack(">I", 1)))
    return c.verdict()


@case("5.1 DATA after the end of the stream", stream_error(CLOSED, PROTOCOL))
def _(c):
    c.send(c.headers() + raw(0, 1, 1, b"x"))
    first = c.verdict()
    # The answer may overtake the error.
    return c.verdict(until=2.0) if first == ("status", 200) else first


@case("5.1.1 an even stream", allowed(PROTOCOL))
def _(c):
    c.send(c.headers(stream=2))
    return c.verdict(stream=2)


@case("5.1.1 a stream number that goes back", allowed(PROTOCOL, CLOSED))
def _(c):
    c.send(c.headers(stream=5))
    c.verdict(stream=5)
    c.send(c.headers(stream=3))
    return c.verdict(stream=3)


@case("5.1.2 more streams than allowed", stream_error(REFUSED, PROTOCOL))
def _(c):
    token = [("authorization", "Bearer " + TOKEN), ("content-type", "application/x-ndjson")]
    for index in range(101):
        c.send(c.headers(token, method="POST", path="/v1/observations", stream=1 + 2 * index, end=False))
    return c.verdict(stream=201)


@case("6.1 DATA on the connection", allowed(PROTOCOL))
def _(c):
    c.send(raw(0, 0, 0, b"x"))
    return c.verdict()


@case("6.1 padding longer than the frame", allowed(PROTOCOL))
def _(c):
    c.send(c.headers(end=False, method="POST", path="/v1/observations") + raw(0, 0x8, 1, b"\x09x"))
    return c.verdict()


@case("6.2 HEADERS on the connection", allowed(PROTOCOL))
def _(c):
    c.send(c.headers(stream=0))
    return c.verdict()


@case("6.2 another frame between HEADERS and CONTINUATION", allowed(PROTOCOL))
def _(c):
    c.send(c.headers(complete=False) + raw(6, 0, 0, b"\0" * 8))
    return c.verdict()


@case("6.5 SETTINGS on a stream", allowed(PROTOCOL))
def _(c):
    c.send(raw(4, 0, 1, b""))
    return c.verdict()


@case("6.5 SETTINGS of a wrong length", allowed(SIZE))
def _(c):
    c.send(raw(4, 0, 0, b"\0\0\0"))
    return c.verdict()


@case("6.5 an acknowledgement with a payload", allowed(SIZE))
def _(c):
    c.send(raw(4, 1, 0, b"\0" * 6))
    return c.verdict()


@case("6.5.2 ENABLE_PUSH neither 0 nor 1", allowed(PROTOCOL))
def _(c):
    c.send(raw(4, 0, 0, struct.pack(">HI", 2, 2)))
    return c.verdict()


@case("6.5.2 an initial window above the limit", allowed(FLOW))
def _(c):
    c.send(raw(4, 0, 0, struct.pack(">HI", 4, 0x80000000)))
    return c.verdict()


@case("6.5.2 a largest frame below the minimum", allowed(PROTOCOL))
def _(c):
    c.send(raw(4, 0, 0, struct.pack(">HI", 5, 100)))
    return c.verdict()


@case("6.6 PUSH_PROMISE of a client", allowed(PROTOCOL))
def _(c):
    c.send(c.headers(end=False, method="POST", path="/v1/observations") + raw(5, 4, 1, struct.pack(">I", 2)))
    return c.verdict()


@case("6.7 PING is answered with its own bytes", {"answered"})
def _(c):
    c.send(raw(6, 0, 0, b"undercur"))
    for frame in c.frames():
        if isinstance(frame, PingFrame) and "ACK" in frame.flags and frame.opaque_data == b"undercur":
            return "answered"
    return "nothing"


@case("6.7 PING of a wrong length", allowed(SIZE))
def _(c):
    c.send(raw(6, 0, 0, b"12345"))
    return c.verdict()


@case("6.7 PING on a stream", allowed(PROTOCOL))
def _(c):
    c.send(raw(6, 0, 1, b"\0" * 8))
    return c.verdict()


@case("6.9 WINDOW_UPDATE of nothing on the connection", allowed(PROTOCOL))
def _(c):
    c.send(raw(8, 0, 0, struct.pack(">I", 0)))
    return c.verdict()


@case("6.9 WINDOW_UPDATE of nothing on a stream", stream_error(PROTOCOL))
def _(c):
    token = [("authorization", "Bearer " + TOKEN)]
    c.send(c.headers(token, end=False, method="POST", path="/v1/observations") + raw(8, 0, 1, struct.pack(">I", 0)))
    return c.verdict()


@case("6.9 WINDOW_UPDATE of a wrong length", allowed(SIZE))
def _(c):
    c.send(raw(8, 0, 0, b"\0\0\1"))
    return c.verdict()


@case("6.9.1 a window above the limit", allowed(FLOW))
def _(c):
    c.send(raw(8, 0, 0, struct.pack(">I", 0x7FFFFFFF)) * 2)
    return c.verdict()


@case("6.10 CONTINUATION without HEADERS", allowed(PROTOCOL))
def _(c):
    c.send(raw(9, 4, 1, b""))
    return c.verdict()


@case("5.5 an unknown frame is passed over", {("status", 200)})
def _(c):
    c.send(raw(0xF0, 0xFF, 0, b"unknown") + c.headers())
    return c.verdict()


for label, change in {
    "an upper-case field name": {"fields": [("X-Upper", "a")]},
    "a field of the connection": {"fields": [("connection", "close")]},
    "TE with anything but trailers": {"fields": [("te", "gzip")]},
    "no path": {"drop": (":path",)},
    "no method": {"drop": (":method",)},
    "an unknown pseudo-field": {"fields": [(":unknown", "a")]},
    "a pseudo-field after a field": {"fields": [("accept", "a"), (":path", "/livez")]},
    "a pseudo-field twice": {"fields": [(":method", "GET")]},
    "a line end in a value": {"fields": [("x-a", "a\r\nx-b: c")]},
    "a zero byte in a value": {"fields": [("x-a", "a\0b")]},
}.items():
    def malformed(c, change=change):
        c.send(c.headers(**change))
        return c.verdict()
    CASES.append((f"8.2 {label}", stream_error(PROTOCOL), malformed))


@case("8.1.1 less DATA than Content-Length", stream_error(PROTOCOL))
def _(c):
    fields = [("content-length", "10"), ("authorization", "Bearer " + TOKEN)]
    c.send(c.headers(fields, method="POST", path="/v1/observations", end=False) + raw(0, 1, 1, b"x"))
    return c.verdict()


@case("8.1 trailers end a body", {("status", 400), ("status", 404), ("status", 403), ("status", 503), ("status", 401)})
def _(c):
    c.send(c.headers(method="POST", path="/v1/propagation", end=False) + raw(0, 0, 1, b"{}"))
    c.send(raw(1, 5, 1, c.encoder.encode([("x-trailer", "a")])))
    return c.verdict()


@case("10.5 a header list above the limit", stream_error(PROTOCOL, CALM, COMPRESSION) | allowed(PROTOCOL, CALM))
def _(c):
    block = c.encoder.encode([(":method", "GET"), (":path", "/livez"), (":scheme", "https"), (":authority", "a")] +
                             [(f"x-{index}", "a" * 400) for index in range(100)])
    c.send(raw(1, 1, 1, block[:16000]))
    rest = block[16000:]
    while rest:
        c.send(raw(9, 4 if len(rest) <= 16000 else 0, 1, rest[:16000]))
        rest = rest[16000:]
    return c.verdict()


@case("rapid reset: a thousand requests taken back", allowed(CALM, PROTOCOL))
def _(c):
    for index in range(1000):
        stream = 1 + 2 * index
        c.send(c.headers(stream=stream) + raw(3, 0, stream, struct.pack(">I", CANCEL)))
    return c.verdict(stream=-1)


@case("a flood of CONTINUATION", allowed(CALM, PROTOCOL))
def _(c):
    c.send(c.headers(complete=False))
    for _n in range(2000):
        c.send(raw(9, 0, 1, b""))
    return c.verdict()


@case("a flood of SETTINGS", allowed(CALM, PROTOCOL))
def _(c):
    for _n in range(3000):
        c.send(raw(4, 0, 0, b""))
    return c.verdict(stream=-1)


@case("a flood of PING", allowed(CALM, PROTOCOL))
def _(c):
    for _n in range(3000):
        c.send(raw(6, 0, 0, b"\0" * 8))
    return c.verdict(stream=-1)


@case("a flood of empty DATA", allowed(CALM, PROTOCOL) | {("status", 403), ("status", 404)})
def _(c):
    c.send(c.headers([("authorization", "Bearer " + TOKEN)], method="POST", path="/v1/observations", end=False))
    for _n in range(3000):
        c.send(raw(0, 0, 1, b""))
    return c.verdict()


def alive():
    c = Connection()
    c.send(c.headers())
    return c.verdict() == ("status", 200)


failures = 0
for name, expected, function in CASES:
    try:
        found = function(Connection())
    except (OSError, ssl.SSLError) as error:
        found = CLOSE if isinstance(error, OSError) else str(error)
    good = found in expected and alive()
    failures += not good
    print(f"{'ok  ' if good else 'FAIL'} {name}: {found}", flush=True)
print(f"{len(CASES) - failures} of {len(CASES)} cases pass")
sys.exit(1 if failures else 0)
