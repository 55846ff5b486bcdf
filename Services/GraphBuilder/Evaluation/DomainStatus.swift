import Model

/// How far a domain has got: the answer of `GET /v1/domains`.
struct DomainStatus: Sendable, Encodable {
    var domain: String
    var nodes: Int
    var events: Int
    /// Stored observations; counted every few seconds.
    var observations: Int64?
    /// nil until the width is declared or the data settle it.
    var bucketMs: Int64?
    /// Newest observation that was read, and the time up to which buckets are closed.
    var newestObservation: Timestamp?
    var watermark: Timestamp?
    /// End of the newest bucket that was evaluated.
    var lastEvaluated: Timestamp?
    /// Closed buckets with data that are still to be evaluated; where the data are not in memory yet, an upper bound.
    var pendingBuckets: Int
    /// Of these, how many wait for other domains to deliver what they are compared with; not in `pendingBuckets`.
    var waitingBuckets: Int
    var waitsFor: [String]
    /// Whether links are judged without the declared period; nil where there is none, or no width yet.
    var removesPeriod: Bool?
    var profile: DomainProfile
}
