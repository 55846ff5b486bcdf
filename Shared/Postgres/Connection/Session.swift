import CLibpq
import Glibc

/// Owns a `PGconn` and knows how to wait for it. Used only on its connection's executor.
///
/// All waiting is one `poll` on the socket and the cancel signal, so every operation ends at its deadline or soon after its
/// task is cancelled, whatever the network does.
final class Session {
    let pointer: OpaquePointer
    let signal: CancelSignal
    /// How long the server may take to obey each cancel request. A request that came before the statement it was meant for is lost,
    /// so it is repeated; after the last one the connection is given up.
    private static let cancelGraces: [Duration] = [.milliseconds(300), .milliseconds(700), .seconds(1)]

    /// One operation's limits, and whether it was asked to stop.
    struct Operation {
        let ticket: UInt64
        var deadline: ContinuousClock.Instant?
        /// False for what must run even in a cancelled task: ROLLBACK, COMMIT.
        var heedsCancellation = true
        /// Why a cancel request was sent; nil: none was.
        var stopReason: PostgresError.Code?
        /// Cancel requests of this operation, oldest first.
        var cancels: [CancelRequest] = []
    }

    /// Nothing more is to be expected of this connection, whatever libpq thinks.
    private var isGivenUp = false

    init(adopting pointer: OpaquePointer, signal: CancelSignal) {
        self.pointer = pointer
        self.signal = signal
        // The default processor prints to standard error.
        PQsetNoticeProcessor(pointer, { _, _ in }, nil)
    }

    deinit { PQfinish(self.pointer) }

    var isBroken: Bool { self.isGivenUp || PQstatus(self.pointer) != CONNECTION_OK }
    var transactionStatus: PGTransactionStatusType { PQtransactionStatus(self.pointer) }

    /// libpq's last message about this connection; for logs only.
    var message: String {
        PQerrorMessage(self.pointer).map { String(cString: $0) }?.trimmingNewlines ?? "no message"
    }

    func lost(_ what: String) -> PostgresError {
        PostgresError(.connectionLost, detail: "\(what): \(self.message)")
    }

    /// Waits until the socket is readable, or as asked; asks the server to stop when the operation's time is over.
    func wait(for events: CInt, _ operation: inout Operation) throws(PostgresError) {
        while true {
            if operation.stopReason == nil, operation.heedsCancellation, self.signal.isCancelled(operation.ticket) {
                try self.stop(&operation, because: .cancelled)
            }
            let milliseconds = Self.milliseconds(until: operation.deadline)
            if milliseconds == 0 {
                if operation.stopReason == nil {
                    try self.stop(&operation, because: .timeout)
                } else {
                    guard operation.cancels.count < Self.cancelGraces.count else {
                        self.giveUp()
                        throw self.lost("the server ignored cancel requests")
                    }
                    self.sendCancel(&operation)
                }
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
            // A wake-up meant for something else must not wake again and again; a cancellation is seen above.
            if watched == 2, descriptors[1].revents != 0 { self.signal.drain() }
        }
    }

    /// Sends the server a cancel request and gives it a little time to obey.
    private func stop(_ operation: inout Operation, because reason: PostgresError.Code) throws(PostgresError) {
        operation.stopReason = reason
        // While connecting there is nothing to cancel yet.
        guard PQstatus(self.pointer) == CONNECTION_OK else {
            throw PostgresError(reason, detail: "while connecting")
        }
        self.sendCancel(&operation)
    }

    /// Stops a statement whose rows nobody wants any more.
    func abandon(_ operation: inout Operation, because reason: PostgresError.Code) {
        guard operation.stopReason == nil else { return }
        operation.stopReason = reason
        self.sendCancel(&operation)
    }

    private func sendCancel(_ operation: inout Operation) {
        let grace = Self.cancelGraces[min(operation.cancels.count, Self.cancelGraces.count - 1)]
        operation.deadline = ContinuousClock.now + grace
        guard let cancel = CancelRequest(of: self.pointer) else { return self.giveUp() }
        operation.cancels.append(cancel)
    }

    /// Makes sure that no cancel request of an operation that has ended can hit the next one.
    ///
    /// Once libpq's call has returned, the server has signalled the backend; one cheap statement then catches a signal that came
    /// too late. A request that is not even taken makes the connection worthless.
    func settleCancel(_ operation: inout Operation) {
        guard !self.isBroken else { return }
        for cancel in operation.cancels where !cancel.wait(milliseconds: 1_000) { return self.giveUp() }
        guard !operation.cancels.isEmpty else { return }
        self.absorbLateCancel()
    }

    /// Cuts the connection, so that nobody waits for it any more.
    func giveUp() {
        self.isGivenUp = true
        let descriptor = PQsocket(self.pointer)
        if descriptor >= 0 { shutdown(descriptor, CInt(SHUT_RDWR)) }
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
