import NIOCore

/// Answers that are given again to whoever asks the same within a moment. A value without I/O; times are passed in.
///
/// From half its age on, the first who asks is sent to make an answer anew while the others still get the old one: an answer
/// that is in demand all the time is made twice per age, and nobody waits for another's. Who asks where none is kept makes one,
/// also when others are at it.
struct KeptAnswers {
    struct Limits {
        var answers = 4_096
        var bytes = 4_194_304
        var bytesPerAnswer = 262_144
        var bytesPerTarget = 512
    }

    struct Answer {
        let body: ByteBuffer
        let madeAt: ContinuousClock.Instant
        fileprivate var isBeingRenewed = false
    }

    private let maximumAge: Duration
    private let limits: Limits
    private var answers: [String: Answer] = [:]
    private(set) var bytes = 0

    init(maximumAge: Duration, limits: Limits = Limits()) {
        self.maximumAge = maximumAge
        self.limits = limits
    }

    var count: Int { self.answers.count }

    /// - Returns: nil when an answer is to be made: none is kept, it is too old, or its time has come to be renewed.
    mutating func answer(_ target: String, now: ContinuousClock.Instant) -> Answer? {
        guard let found = self.answers[target] else { return nil }
        let age = now - found.madeAt
        guard age < self.maximumAge else { return nil }
        if age >= self.maximumAge / 2, !found.isBeingRenewed {
            self.answers[target]?.isBeingRenewed = true
            return nil
        }
        return found
    }

    /// - Parameter askedAt: when the making began: what the answer says may be as old as that.
    mutating func keep(_ body: ByteBuffer, for target: String, askedAt: ContinuousClock.Instant) {
        let size = body.readableBytes
        guard self.maximumAge > .zero, size <= self.limits.bytesPerAnswer,
            target.utf8.count <= self.limits.bytesPerTarget
        else { return }
        if let old = self.answers[target] {
            // One that took long must not replace what was begun after it.
            guard old.madeAt <= askedAt else { return }
            self.bytes -= old.body.readableBytes
            self.answers[target] = nil
        }
        if self.answers.count >= self.limits.answers || self.bytes + size > self.limits.bytes {
            self.makeRoom(for: size, now: askedAt)
        }
        self.answers[target] = Answer(body: body, madeAt: askedAt)
        self.bytes += size
    }

    mutating func removeAll() {
        self.answers = [:]
        self.bytes = 0
    }

    /// Lets go of what is too old; of everything when that is not enough, so that a flood of questions costs no more than
    /// one pass in as many questions as there is room for.
    private mutating func makeRoom(for size: Int, now: ContinuousClock.Instant) {
        self.answers = self.answers.filter { now - $0.value.madeAt < self.maximumAge }
        self.bytes = self.answers.values.reduce(0) { $0 + $1.body.readableBytes }
        if self.answers.count > self.limits.answers / 2 || self.bytes + size > self.limits.bytes / 2 {
            self.answers.removeAll(keepingCapacity: true)
            self.bytes = 0
        }
    }
}
