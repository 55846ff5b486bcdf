import Model

/// A node as a request names it.
struct NodeReference: Decodable, Hashable, Sendable {
    let domain: String
    let event: String
    let market: String
    let venue: String

    /// - Parameter field: where the node stands in the request: `source`.
    func key(_ field: String) throws(ValidationError) -> NodeKey {
        do throws(ValidationError) {
            return try NodeKey(
                validatingDomain: self.domain, event: self.event, market: self.market, venue: self.venue)
        } catch {
            throw ValidationError(field: "\(field).\(error.field)", rule: error.rule)
        }
    }
}
