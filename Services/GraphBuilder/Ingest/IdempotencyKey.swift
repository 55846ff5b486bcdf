import Model
import Postgres
import Synchronization

/// A caller's promise that two requests with the same key are one.
struct IdempotencyKey: Hashable, Sendable {
    static let lengthLimit = 255

    let caller: String
    let key: String

    /// - Throws: an `invalid-request` problem unless the key is 1 to 255 printable ASCII characters.
    init(caller: String, key: String) throws(Problem) {
        guard (1...Self.lengthLimit).contains(key.utf8.count), key.utf8.allSatisfy({ (0x21...0x7E).contains($0) })
        else {
            throw Problem(
                .invalidRequest,
                detail: "Idempotency-Key must be 1 to \(Self.lengthLimit) printable ASCII characters without spaces.")
        }
        self.caller = caller
        self.key = key
    }

    /// Held by the transaction that works on the key.
    var lock: AdvisoryLock { AdvisoryLock(of: "\(self.caller)\u{1F}\(self.key)") }

    static var inFlight: Problem {
        Problem(
            .idempotencyInFlight, detail: "A request with this Idempotency-Key is being worked on.", retryAfter: 1)
    }

    static var mismatch: Problem {
        Problem(.idempotencyMismatch, detail: "This Idempotency-Key was used with another body.")
    }
}

/// An answer as it was given, to be given again.
struct StoredAnswer: Sendable, Hashable {
    let payloadHash: [UInt8]
    let status: Int
    let body: [UInt8]

    static func decode(_ rows: PostgresRows) throws(PostgresError) -> StoredAnswer? {
        guard let row = rows.first else { return nil }
        let (hash, status, body) = try row.decode(([UInt8], Int, [UInt8]).self)
        return StoredAnswer(payloadHash: hash, status: status, body: body)
    }
}

/// Keys this process is working on from the first byte of the body on; the database's lock settles it between processes.
final class KeysInFlight: Sendable {
    private let keys = Mutex<Set<IdempotencyKey>>([])

    /// - Returns: false when the key is taken.
    func begin(_ key: IdempotencyKey) -> Bool { self.keys.withLock { $0.insert(key).inserted } }

    func end(_ key: IdempotencyKey) { self.keys.withLock { _ = $0.remove(key) } }
}
