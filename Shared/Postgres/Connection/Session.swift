import CLibpq
import Glibc

/// Owns a `PGconn` and knows how to wait for it. Used only on its connection's executor.
///
/// All waiting is one `poll` on the socket and the cancel signal, so every operation ends at its deadline or soon after its
/// task is cancelled, whatever the network does.
final class Session {
    let pointer: OpaquePointer
    let signal: CancelSignal
    /// How long the server may take to answer a cancel request before the connection is given up.
    private static let cancelGrace: Duration = .seconds(5)

    /// One operation's limits, and whether it was asked to stop.
    struct Operation {
        let ticket: UInt64
        var deadline: ContinuousClock.Instant?
        /// False for what must run even in a cancelled task: ROLLBACK, COMMIT.
        var heedsCancellation = true
        /// Why a cancel request was sent; nil: none was.
        var stopReason: PostgresError.Code?
    }

    init(adopting pointer: OpaquePointer, signal: CancelSignal) {
        self.pointer = pointer
        self.signal = signal
        // The default processor prints to standard error.
        PQsetNoticeProcessor(pointer, { _, _ in }, nil)
    }

    deinit { PQfinish(self.pointer) }

    var isBroken: Bool { PQstatus(self.pointer) != CONNECTION_OK }
    var transactionStatus: PGTransactionStatusType { PQtransactionStatus(self.pointer) }

    /// libpq's last message about this connection; for logs only.
    var message: String {
        PQerrorMessage(self.pointer).map { String(cString: $0) }?.trimmingNewlines ?? "no message"
    }

    func lost(_ what: String) -> PostgresError {
        PostgresError(.connectionLost, detail: "\(what): \(self.message)")
    }

    /// Connects to the first host of the connection string that will have us.
    static func open(
        _ configuration: PostgresConfiguration, signal: CancelSignal, operation: inout Operation
    ) throws(PostgresError) -> Session {
        let settings: [(String, String)] = [
            ("dbname", configuration.connectionString),
            ("fallback_application_name", configuration.applicationName),
            ("client_encoding", "UTF8"),
        ]
        let names = settings.map { strdup($0.0) }
        let values = settings.map { strdup($0.1) }
        defer { for text in names + values { free(text) } }
        let pointer = PQconnectStartParams(
            names.map { UnsafePointer($0) } + [nil], values.map { UnsafePointer($0) } + [nil], 1)
        guard let pointer else { throw PostgresError(.outOfResources, detail: "PQconnectStartParams") }
        let session = Session(adopting: pointer, signal: signal)
        var state = PGRES_POLLING_WRITING
        while state != PGRES_POLLING_OK {
            guard state == PGRES_POLLING_READING || state == PGRES_POLLING_WRITING, !session.isRefused else {
                throw session.refusal
            }
            try session.wait(for: state == PGRES_POLLING_READING ? POLLIN : POLLOUT, &operation)
            state = PQconnectPoll(pointer)
        }
        guard PQsetnonblocking(pointer, 1) == 0 else { throw session.lost("PQsetnonblocking") }
        return session
    }

    private var isRefused: Bool { PQstatus(self.pointer) == CONNECTION_BAD }

    /// libpq gives no SQLSTATE for a failed connection, only text; what the operator must fix is told apart by it.
    private var refusal: PostgresError {
        let message = self.message
        let forbidden = ["authentication failed", "no pg_hba.conf entry", "no password supplied"]
        if forbidden.contains(where: message.contains) { return PostgresError(.forbidden, detail: message) }
        if message.contains("does not exist"), message.contains("database") || message.contains("role") {
            return PostgresError(.forbidden, detail: message)
        }
        return PostgresError(.unavailable, detail: message)
    }

    /// Waits until the socket is readable, or as asked; asks the server to stop when the operation's time is over.
    func wait(for events: CInt, _ operation: inout Operation) throws(PostgresError) {
        while true {
            if operation.stopReason == nil, operation.heedsCancellation, self.signal.isCancelled(operation.ticket) {
                try self.stop(&operation, because: .cancelled)
            }
            let milliseconds = Self.milliseconds(until: operation.deadline)
            if milliseconds == 0 {
                guard operation.stopReason == nil else { throw self.lost("the server ignored a cancel request") }
                try self.stop(&operation, because: .timeout)
                continue
            }
            var descriptors = [
                pollfd(fd: PQsocket(self.pointer), events: Int16(events), revents: 0),
                pollfd(fd: self.signal.descriptor, events: Int16(POLLIN), revents: 0),
            ]
            guard descriptors[0].fd >= 0 else { throw self.lost("no socket") }
            let watched: nfds_t = operation.heedsCancellation && operation.stopReason == nil ? 2 : 1
            let ready = poll(&descriptors, watched, milliseconds)
            if ready < 0 {
                guard errno == EINTR else { throw self.lost("poll: errno \(errno)") }
                continue
            }
            if descriptors[0].revents != 0 { return }
        }
    }

    /// Sends the server a cancel request and gives it a little time to obey.
    private func stop(_ operation: inout Operation, because reason: PostgresError.Code) throws(PostgresError) {
        operation.stopReason = reason
        operation.deadline = ContinuousClock.now + Self.cancelGrace
        // While connecting there is nothing to cancel yet.
        guard PQstatus(self.pointer) == CONNECTION_OK else {
            throw PostgresError(reason, detail: "while connecting")
        }
        self.sendCancel()
    }

    /// Stops a statement whose rows nobody wants any more.
    func abandon(_ operation: inout Operation, because reason: PostgresError.Code) {
        guard operation.stopReason == nil else { return }
        operation.stopReason = reason
        operation.deadline = ContinuousClock.now + Self.cancelGrace
        self.sendCancel()
    }

    private func sendCancel() {
        guard let cancel = PQgetCancel(self.pointer) else { return }
        defer { PQfreeCancel(cancel) }
        var text = [CChar](repeating: 0, count: 256)
        _ = PQcancel(cancel, &text, CInt(text.count))
    }

    /// Milliseconds for `poll`: -1 without a deadline, 0 when it has passed, else rounded up.
    static func milliseconds(until deadline: ContinuousClock.Instant?) -> CInt {
        guard let deadline else { return -1 }
        let left = deadline - ContinuousClock.now
        guard left > .zero else { return 0 }
        let (seconds, attoseconds) = left.components
        guard seconds < 1_000_000 else { return 1_000_000_000 }
        return CInt(seconds * 1_000 + attoseconds / 1_000_000_000_000_000) + 1
    }

    /// Whether the idle socket says something: a closed connection, or a notice nobody has read. No server round trip.
    static func hasPendingInput(_ descriptor: CInt) -> Bool {
        var descriptors = [pollfd(fd: descriptor, events: Int16(POLLIN), revents: 0)]
        return poll(&descriptors, 1, 0) != 0
    }
}

extension String {
    var trimmingNewlines: String {
        var text = self[...]
        while let last = text.last, last.isNewline || last == " " { text.removeLast() }
        return String(text)
    }
}
