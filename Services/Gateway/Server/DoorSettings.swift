import Model

/// What the public side of the gateway needs to know, parsed and checked.
struct DoorSettings: Hashable, Sendable {
    /// Longest time from the head of a request to the last byte of its answer.
    var requestMs = 30_000
    /// Longest wait for the next piece of a body.
    var bodyStallMs = 10_000
    /// Requests answered at once.
    var inFlightLimit = 2_048
    var connectionLimit = 10_000
    /// HTTP/2 streams of one connection at once.
    var streamLimit = 100
    /// An idle connection is closed after this time.
    var idleSeconds = 60
    /// Longest orderly stop, and how long of it the listener stays open.
    var shutdownGraceSeconds = 20
    var shutdownDrainSeconds = 2
    /// Bytes of one header field, and of all together.
    var headerLimit = 16 << 10
    var callerPolicy = GCRA(burst: 1_000, refillPerSecond: 1_000)
    /// Whether a caller's limit counts over all instances.
    var isLimitShared = false
    /// For requests without a valid credential, per address.
    var peerPolicy = GCRA(burst: 200, refillPerSecond: 50)
    var traceTrust = TraceTrust()
    var crossOrigin = CrossOrigin.none
    /// Resident bytes from which work is refused; nil: no ceiling.
    var memoryCeiling: Int?
    /// What a client may do that shows a certificate of a trusted authority and no other credential.
    var certificateScopes: Set<Scope> = []
    /// Port on the loopback that alone has the routes for administrators; nil: the public port has them.
    var adminPort: Int?
    /// Whether that port takes more than reads.
    var hasAdminWrites = false
    /// `Strict-Transport-Security` max-age.
    var hstsSeconds = 31_536_000

    var idleNanoseconds: Int64 { Int64(self.idleSeconds) * 1_000_000_000 }
    /// How long a client may take for TLS, and then for a head that it has begun.
    var headNanoseconds: Int64 { min(10_000_000_000, self.idleNanoseconds) }
    /// How long connections may go on after the listener has closed: what an orderly stop has left, but for a second in which the
    /// other services stop.
    var drainLimit: Duration { .seconds(max(1, self.shutdownGraceSeconds - self.shutdownDrainSeconds - 1)) }
}
