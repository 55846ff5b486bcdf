import Synchronization

/// Carries a file's error past a COPY, whose own error only says that it was stopped.
final class SnapshotFailure: Sendable {
    private let error = Mutex<SnapshotError?>(nil)

    func note(_ error: SnapshotError) { self.error.withLock { if $0 == nil { $0 = error } } }
    var first: SnapshotError? { self.error.withLock { $0 } }
}
