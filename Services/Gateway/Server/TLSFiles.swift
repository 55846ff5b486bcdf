import Foundation
import NIOSSL

/// The certificate chain and key the gateway serves with.
enum TLSFiles {
    /// Why the pair cannot be used; names the setting at fault.
    struct Refusal: Error, Hashable, CustomStringConvertible {
        let key: String
        let rule: String
        var description: String { "\(self.key) \(self.rule)" }
    }

    /// Where the chain and its key lie.
    struct Pair: Hashable, Sendable {
        let certificateFile: String
        let keyFile: String
        /// Authorities whose client certificates are believed; nil: none is asked for.
        var clientAuthorityFile: String?

        /// What both files hold now; a missing one is empty.
        var contents: [Data] {
            [self.certificateFile, self.keyFile, self.clientAuthorityFile ?? ""].map {
                FileManager.default.contents(atPath: $0) ?? Data()
            }
        }

        func configuration() throws(Refusal) -> TLSConfiguration {
            var configuration = try TLSFiles.configuration(
                certificateFile: self.certificateFile, keyFile: self.keyFile)
            guard let clientAuthorityFile else { return configuration }
            guard let authorities = try? NIOSSLCertificate.fromPEMFile(clientAuthorityFile), !authorities.isEmpty else {
                throw Refusal(key: TLSFiles.clientAuthorityKey, rule: "must name a readable PEM file of authorities")
            }
            // Whoever shows no certificate may still have a key or a token.
            configuration.certificateVerification = .optionalVerification
            configuration.trustRoots = .certificates(authorities)
            return configuration
        }
    }

    static let certificateKey = "TLS_CERTIFICATE_FILE"
    static let privateKeyKey = "TLS_KEY_FILE"
    static let clientAuthorityKey = "TLS_CLIENT_AUTHORITY_FILE"

    /// AEAD suites with forward secrecy for TLS 1.2; TLS 1.3 has no others.
    static let cipherSuites: [NIOTLSCipher] = [
        .TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256, .TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256,
        .TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384, .TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384,
        .TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256, .TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256,
    ]

    /// Reads both files and proves that they belong together.
    static func configuration(certificateFile: String, keyFile: String) throws(Refusal) -> TLSConfiguration {
        let certificates: [NIOSSLCertificate]
        do {
            certificates = try NIOSSLCertificate.fromPEMFile(certificateFile)
        } catch {
            throw Refusal(key: Self.certificateKey, rule: "must name a readable PEM certificate chain")
        }
        guard !certificates.isEmpty else {
            throw Refusal(key: Self.certificateKey, rule: "must name a file with at least one certificate")
        }
        let key: NIOSSLPrivateKey
        do {
            key = try NIOSSLPrivateKey(file: keyFile, format: .pem)
        } catch {
            throw Refusal(key: Self.privateKeyKey, rule: "must name a readable PEM private key without passphrase")
        }
        var configuration = TLSConfiguration.makeServerConfiguration(
            certificateChain: certificates.map { .certificate($0) }, privateKey: .privateKey(key))
        configuration.minimumTLSVersion = .tlsv12
        configuration.cipherSuiteValues = Self.cipherSuites
        do {
            _ = try NIOSSLContext(configuration: configuration)
        } catch {
            throw Refusal(
                key: Self.privateKeyKey,
                rule: "must be the key of the first certificate in \(Self.certificateKey)")
        }
        return configuration
    }
}
