"""TLS of a running gateway by sslyze: versions, ciphers, known holes, resumption. Usage: tls_check.py HOST PORT"""

import sys

from sslyze import ScanCommand, Scanner, ServerNetworkLocation, ServerScanRequest

HOST, PORT = sys.argv[1], int(sys.argv[2])
COMMANDS = {
    ScanCommand.SSL_2_0_CIPHER_SUITES, ScanCommand.SSL_3_0_CIPHER_SUITES, ScanCommand.TLS_1_0_CIPHER_SUITES,
    ScanCommand.TLS_1_1_CIPHER_SUITES, ScanCommand.TLS_1_2_CIPHER_SUITES, ScanCommand.TLS_1_3_CIPHER_SUITES,
    ScanCommand.TLS_COMPRESSION, ScanCommand.TLS_1_3_EARLY_DATA, ScanCommand.TLS_FALLBACK_SCSV,
    ScanCommand.HEARTBLEED, ScanCommand.ROBOT, ScanCommand.OPENSSL_CCS_INJECTION,
    ScanCommand.SESSION_RENEGOTIATION, ScanCommand.SESSION_RESUMPTION, ScanCommand.ELLIPTIC_CURVES,
}

location = ServerNetworkLocation(hostname="localhost", ip_address=HOST, port=PORT)
scanner = Scanner()
scanner.queue_scans([ServerScanRequest(server_location=location, scan_commands=COMMANDS)])
failures = 0


def check(name, good, found=""):
    global failures
    failures += not good
    print(f"{'ok  ' if good else 'FAIL'} {name}{': ' + str(found) if found != '' else ''}")


for server in scanner.get_results():
    if server.scan_result is None:
        print("FAIL no scan:", server.connectivity_error_trace)
        sys.exit(1)
    scan = server.scan_result

    def suites(attempt):
        return sorted(accepted.cipher_suite.name for accepted in attempt.result.accepted_cipher_suites)

    for name, attempt in {
        "SSL 2": scan.ssl_2_0_cipher_suites, "SSL 3": scan.ssl_3_0_cipher_suites,
        "TLS 1.0": scan.tls_1_0_cipher_suites, "TLS 1.1": scan.tls_1_1_cipher_suites,
    }.items():
        check(f"{name} is refused", not suites(attempt), suites(attempt) or "")
    old = suites(scan.tls_1_2_cipher_suites)
    check("TLS 1.2 only with forward secrecy and AEAD",
          old and all(suite.startswith("TLS_ECDHE_") and ("GCM" in suite or "CHACHA20" in suite) for suite in old), old)
    check("TLS 1.3", bool(suites(scan.tls_1_3_cipher_suites)), suites(scan.tls_1_3_cipher_suites))
    check("no compression", not scan.tls_compression.result.supports_compression)
    check("no early data", not scan.tls_1_3_early_data.result.supports_early_data)
    check("a downgrade is noticed", scan.tls_fallback_scsv.result.supports_fallback_scsv)
    check("no Heartbleed", not scan.heartbleed.result.is_vulnerable_to_heartbleed)
    check("no CCS injection", not scan.openssl_ccs_injection.result.is_vulnerable_to_ccs_injection)
    robot = scan.robot.result.robot_result.name if scan.robot.result else "none"
    check("no ROBOT", robot.startswith("NOT_VULNERABLE"), robot)
    check("clients cannot renegotiate",
          not scan.session_renegotiation.result.is_vulnerable_to_client_renegotiation_dos)
    curves = sorted(curve.name for curve in scan.elliptic_curves.result.supported_curves or [])
    check("modern curves", bool(curves) and not set(curves) - {"X25519", "secp256r1", "prime256v1", "secp384r1", "secp521r1"}, curves)
sys.exit(1 if failures else 0)
