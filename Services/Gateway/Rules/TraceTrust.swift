/// Whose `traceparent` is continued. Whoever is not trusted gets a trace of our own, so that no stranger can switch recording
/// on or off or write into other people's traces.
struct TraceTrust: Hashable, Sendable {
    enum Rule: String, CaseIterable, Hashable, Sendable {
        /// Requests with a valid credential, and trusted addresses.
        case credential
        /// Trusted addresses only.
        case addresses
        case all
    }

    var rule = Rule.credential
    var blocks: [AddressBlock] = []

    func trusts(peer: String?, hasCredential: Bool) -> Bool {
        if self.rule == .all || (self.rule == .credential && hasCredential) { return true }
        guard let peer, !self.blocks.isEmpty else { return false }
        return self.blocks.contains { $0.contains(peer) }
    }
}
