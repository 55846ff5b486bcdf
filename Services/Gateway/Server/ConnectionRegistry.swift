import NIOCore
import Synchronization

/// From a connection (or an HTTP/2 stream) to the exchanges whose heads it has read and that no one has taken up yet.
///
/// The framework hands a request over without its channel handlers; this is the way from the one to the other. Entries
/// live exactly as long as the channel's ``ConnectionGuard``.
final class ConnectionRegistry: Sendable {
    private let lanes: [Lane]

    private final class Lane: Sendable {
        let waiting = Mutex<[ObjectIdentifier: [Exchange]]>([:])
    }

    init() { self.lanes = (0..<16).map { _ in Lane() } }

    private func lane(_ id: ObjectIdentifier) -> Lane { self.lanes[id.hashValue & 15] }

    func append(_ exchange: Exchange, for channel: any Channel) {
        let id = ObjectIdentifier(channel)
        self.lane(id).waiting.withLock { $0[id, default: []].append(exchange) }
    }

    /// The exchange of the next request of `channel`, in the order of arrival.
    func next(for channel: any Channel) -> Exchange? {
        let id = ObjectIdentifier(channel)
        return self.lane(id).waiting.withLock { waiting in
            guard let first = waiting[id]?.first else { return nil }
            waiting[id]?.removeFirst()
            return first
        }
    }

    func remove(_ channel: any Channel) {
        let id = ObjectIdentifier(channel)
        _ = self.lane(id).waiting.withLock { $0.removeValue(forKey: id) }
    }
}
