import Foundation
import TestSupport

/// A throw-away authority, a certificate for localhost, and the caller-token secret.
enum Certificates {
    static func make(in folder: String) throws {
        try "subjectAltName=DNS:localhost,IP:127.0.0.1\n".write(
            toFile: folder + "/server.ext", atomically: true, encoding: .utf8)
        let curve = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-sha256"]
        try ChildProgram.run(
            ["/usr/bin/openssl", "req", "-x509"] + curve + [
                "-days", "2", "-subj", "/CN=Test authority", "-keyout", folder + "/ca-key.pem", "-out",
                folder + "/ca.pem", "-addext", "basicConstraints=critical,CA:TRUE",
            ])
        try ChildProgram.run(
            ["/usr/bin/openssl", "req"] + curve + [
                "-subj", "/CN=localhost", "-keyout", folder + "/server-key.pem", "-out", folder + "/server.csr",
            ])
        try ChildProgram.run([
            "/usr/bin/openssl", "x509", "-req", "-in", folder + "/server.csr", "-CA", folder + "/ca.pem", "-CAkey",
            folder + "/ca-key.pem", "-CAcreateserial", "-days", "2", "-out", folder + "/server.pem", "-extfile",
            folder + "/server.ext",
        ])
        let secret = (0..<48).map { _ in String(UInt8.random(in: 0...9)) }.joined()
        try secret.write(toFile: folder + "/caller-secret", atomically: true, encoding: .utf8)
        try FileManager.default.setAttributes([.posixPermissions: 0o600], ofItemAtPath: folder + "/caller-secret")
    }
}
