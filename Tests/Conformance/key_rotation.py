"""Keys of tokens that change under load: 1,000 requests a second, every 6 s another key signs, published that moment, the one
before the last taken away. Nobody with a right token is refused. Then tokens that name made-up keys come as fast as they can: the
key set is fetched once per cool-down of 5 s, and right tokens pass meanwhile. Usage: key_rotation.py CA_FILE PORT JWKS_PORT"""

import base64
import collections
import http.client
import http.server
import json
import secrets
import ssl
import sys
import threading
import time

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

CA, PORT, JWKS_PORT = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
RATE, THREADS, ROTATIONS, EVERY, FLOOD = 1_000, 8, 5, 6.0, 12.0
COOL_DOWN = 5.0


def base64url(data):
    return base64.urlsafe_b64encode(data).decode().rstrip("=")


class Key:
    def __init__(self):
        self.name, self.private = secrets.token_hex(8), Ed25519PrivateKey.generate()

    def entry(self):
        return {"kty": "OKP", "crv": "Ed25519", "alg": "EdDSA", "use": "sig", "kid": self.name,
                "x": base64url(self.private.public_key().public_bytes_raw())}

    def token(self, name=None):
        claims = {"iss": "bench", "aud": "undercurrent", "sub": "bench", "scope": "read", "exp": int(time.time()) + 60,
                  "jti": secrets.token_hex(8)}
        parts = [{"alg": "EdDSA", "kid": name or self.name}, claims]
        signed = ".".join(base64url(json.dumps(part).encode()) for part in parts)
        return f"{signed}.{base64url(self.private.sign(signed.encode()))}"


class Published(http.server.BaseHTTPRequestHandler):
    keys, fetches = [], 0

    def do_GET(self):
        Published.fetches += 1
        body = json.dumps({"keys": [key.entry() for key in Published.keys]}).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        pass


class Client:
    def __init__(self):
        self.context = ssl.create_default_context(cafile=CA)
        self.context.check_hostname = False
        self.connection = None

    def status(self, token):
        if self.connection is None:
            self.connection = http.client.HTTPSConnection("127.0.0.1", PORT, context=self.context, timeout=20)
        self.connection.request("GET", "/v1/events", headers={"Authorization": f"Bearer {token}"})
        answer = self.connection.getresponse()
        answer.read()
        return answer.status


def load(seconds, rate, make_token):
    """Statuses of `rate` requests a second, evenly over all threads, each token used once."""
    seen, lock = collections.Counter(), threading.Lock()

    def work(offset):
        client, own, begin = Client(), collections.Counter(), time.monotonic()
        for turn in range(int(seconds * rate / THREADS)):
            wait = begin + (turn * THREADS + offset) / rate - time.monotonic()
            if wait > 0:
                time.sleep(wait)
            own[client.status(make_token())] += 1
        with lock:
            seen.update(own)

    threads = [threading.Thread(target=work, args=(offset,)) for offset in range(THREADS)]
    for thread in threads:
        thread.start()
    return seen, threads


Published.keys = [Key()]
server = http.server.ThreadingHTTPServer(("127.0.0.1", JWKS_PORT), Published)
threading.Thread(target=server.serve_forever, daemon=True).start()

# The gateway began without keys.
client = Client()
deadline = time.time() + 20
while client.status(Published.keys[-1].token()) != 200:
    if time.time() > deadline:
        sys.exit("the gateway does not come to believe tokens")
    time.sleep(0.5)
time.sleep(COOL_DOWN)

begin = time.monotonic()
seen, threads = load(ROTATIONS * EVERY, RATE, lambda: Published.keys[-1].token())
for _ in range(ROTATIONS - 1):
    time.sleep(EVERY)
    Published.keys = Published.keys[-1:] + [Key()]
for thread in threads:
    thread.join()
rate = sum(seen.values()) / (time.monotonic() - begin)
print(f"keys of tokens: {ROTATIONS - 1} changes at {rate:.0f} requests a second: {dict(seen)}")
failed = set(seen) != {200} or rate < 0.5 * RATE

fetches, right = Published.fetches, Published.keys[-1]
flood, flooding = load(FLOOD, RATE / 2, lambda: right.token(secrets.token_hex(8)))
good, asking = load(FLOOD, RATE / 10, right.token)
for thread in flooding + asking:
    thread.join()
fetched, allowed = Published.fetches - fetches, int(FLOOD / COOL_DOWN) + 2
print(f"made-up keys: {dict(flood)}, right ones meanwhile: {dict(good)}, fetched {fetched} times, {allowed} allowed")
failed = failed or 200 in flood or set(good) != {200} or fetched > allowed
sys.exit(1 if failed else 0)
