import Synchronization

/// Where a listener is bound; with port 0 it is known only once it listens.
public final class ListenerAddress: Sendable {
    private let bound = Mutex<(host: String, port: Int)?>(nil)

    public init() {}

    public func set(host: String, port: Int) { self.bound.withLock { $0 = (host, port) } }
    public var port: Int? { self.bound.withLock { $0?.port } }
    public var host: String? { self.bound.withLock { $0?.host } }
}
