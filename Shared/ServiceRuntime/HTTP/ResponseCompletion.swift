import Hummingbird
import Synchronization

/// Runs a closure once: when told to, or at the latest when nobody holds it any more.
final class Completion: Sendable {
    private let action: Mutex<(@Sendable () -> Void)?>

    init(_ action: @escaping @Sendable () -> Void) { self.action = Mutex(action) }

    func run() {
        let action = self.action.withLock { action in
            defer { action = nil }
            return action
        }
        action?()
    }

    deinit { self.run() }
}

extension Response {
    /// Runs `completion` when the body has been written. A body of known length is at hand, so its work is over already.
    func completing(_ completion: Completion) -> Response {
        guard self.body.contentLength == nil else {
            completion.run()
            return self
        }
        var response = self
        let body = self.body
        response.body = ResponseBody { writer in
            defer { completion.run() }
            try await body.write(writer)
        }
        return response
    }
}
