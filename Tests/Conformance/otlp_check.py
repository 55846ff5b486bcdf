"""Spans of a running gateway, received over OTLP/HTTP and read by the protocol's own definitions (PyPI: opentelemetry-proto).

Usage: otlp_check.py HOST PORT CERTIFICATE TOKEN RECEIVER_PORT; the gateway sends to http://127.0.0.1:RECEIVER_PORT and samples all.
"""

import base64
import http.server
import json
import ssl
import sys
import threading
import time
import urllib.error
import urllib.request

from google.protobuf import json_format
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

HOST, PORT, CERTIFICATE, TOKEN, RECEIVER = sys.argv[1], int(sys.argv[2]), sys.argv[3], sys.argv[4], int(sys.argv[5])
spans, problems = {}, []


def identifiers_as_bytes(value):
    """OTLP writes identifiers in hexadecimal, where JSON of protocol buffers has base64."""
    if isinstance(value, list):
        return [identifiers_as_bytes(item) for item in value]
    if not isinstance(value, dict):
        return value
    return {
        key: base64.b64encode(bytes.fromhex(item)).decode()
        if key in ("traceId", "spanId", "parentSpanId") else identifiers_as_bytes(item)
        for key, item in value.items()
    }


class Receiver(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_POST(self):
        body = self.rfile.read(int(self.headers["content-length"]))
        try:
            if self.path != "/v1/traces" or self.headers["content-type"] != "application/json":
                raise ValueError(f"{self.path} {self.headers['content-type']}")
            # A field that the protocol does not know is an error here.
            request = json_format.ParseDict(identifiers_as_bytes(json.loads(body)), ExportTraceServiceRequest())
            for resource in request.resource_spans:
                names = {item.key: item.value.string_value for item in resource.resource.attributes}
                for scope in resource.scope_spans:
                    for span in scope.spans:
                        spans[span.span_id.hex()] = (span, names)
        except Exception as error:
            problems.append(str(error))
        self.send_response(200)
        self.send_header("content-length", "2")
        self.end_headers()
        self.wfile.write(b"{}")

    def log_message(self, *_):
        pass


def ask(path, traceparent=None, token=TOKEN):
    request = urllib.request.Request(f"https://{HOST}:{PORT}{path}")
    if token:
        request.add_header("authorization", f"Bearer {token}")
    if traceparent:
        request.add_header("traceparent", traceparent)
    try:
        answer = urllib.request.urlopen(request, context=ssl.create_default_context(cafile=CERTIFICATE), timeout=10)
    except urllib.error.HTTPError as error:
        answer = error
    _, trace, span, flags = answer.headers["traceparent"].split("-")
    return answer.status, trace, span, flags


failures = 0


def check(name, good, found=""):
    global failures
    failures += not good
    print(f"{'ok  ' if good else 'FAIL'} {name}{': ' + str(found) if not good else ''}")


threading.Thread(target=http.server.ThreadingHTTPServer(("127.0.0.1", RECEIVER), Receiver).serve_forever, daemon=True).start()
began = time.time_ns()
parent = "00f067aa0ba902b7"
continued = ask("/v1/events", f"00-4bf92f3577b34da6a3ce929d0e0e4736-{parent}-01")
unsampled = ask("/v1/events", f"00-4bf92f3577b34da6a3ce929d0e0e4737-{parent}-00")
fresh = ask("/v1/events")
invalid = ask("/v1/events", f"00-00000000000000000000000000000000-{parent}-01")
stranger = ask("/v1/events", f"00-4bf92f3577b34da6a3ce929d0e0e4738-{parent}-01", token=None)
wanted = [continued[2], fresh[2], invalid[2], stranger[2]]
for _ in range(150):
    if all(span in spans for span in wanted):
        break
    time.sleep(0.1)
time.sleep(0.5)
ended = time.time_ns()
check("every body is what the protocol defines", not problems, problems[:3])
check("every sampled request has its span", all(span in spans for span in wanted), [s for s in wanted if s not in spans])


def of(answer):
    return spans.get(answer[2], (None, {}))


span, resource = of(continued)
if span:
    check("a trace of a known caller is continued", span.trace_id.hex() == "4bf92f3577b34da6a3ce929d0e0e4736", span.trace_id.hex())
    check("under the span that asked", span.parent_span_id.hex() == parent, span.parent_span_id.hex())
    check("as a server's span", span.kind == span.SPAN_KIND_SERVER, span.kind)
    check("at the time it happened", began <= span.start_time_unix_nano <= span.end_time_unix_nano <= ended)
    check("of the service gateway", resource.get("service.name") == "gateway", resource)
    attributes = {item.key for item in span.attributes}
    check("with method, route and status", {"http.request.method", "http.route", "http.response.status_code"} <= attributes, attributes)
check("an unsampled trace sends nothing", unsampled[2] not in spans)
check("and says so in its answer", unsampled[3] == "00", unsampled)
span, _ = of(fresh)
check("without a trace one begins", span is not None and not span.parent_span_id)
span, _ = of(invalid)
check("an invalid one is begun anew", span is not None and not span.parent_span_id and int(invalid[1], 16) != 0)
span, _ = of(stranger)
check("a stranger's is begun anew", span is not None and stranger[0] == 401 and stranger[1] != "4bf92f3577b34da6a3ce929d0e0e4738")
sys.exit(failures > 0)
