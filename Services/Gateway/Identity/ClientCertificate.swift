import Model
import NIOSSL

/// The caller in a client certificate: its first URI, else its first DNS name.
enum ClientCertificate {
    /// - Parameter certificate: one whose chain has been checked.
    /// - Returns: nil when it has no name that a caller may have.
    static func name(_ certificate: NIOSSLCertificate) -> String? {
        let names = certificate._subjectAlternativeNames()
        for kind in [_SubjectAlternativeName.NameType.uri, .dnsName] {
            for name in names where name.nameType == kind {
                let text = String(decoding: name.contents, as: UTF8.self)
                if (try? Name.validate(text, field: "certificate")) != nil { return text }
            }
        }
        return nil
    }
}
