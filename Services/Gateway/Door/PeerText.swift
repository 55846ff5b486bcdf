import NIOCore

/// What is known of a client by its connection, made once per connection.
struct PeerText: Sendable {
    /// Without port.
    let address: String?
    /// Whose bucket it spends from without a credential.
    let limitKey: String

    /// The name in a client certificate of a trusted authority; nil: none was shown.
    let certificateName: String?

    /// Came in by the port of administrators.
    let isAdministrative: Bool

    init(_ address: SocketAddress?, certificateName: String? = nil, isAdministrative: Bool = false) {
        self.isAdministrative = isAdministrative
        self.address = address?.ipAddress
        self.limitKey = PeerKey.of(self.address)
        self.certificateName = certificateName
    }
}
