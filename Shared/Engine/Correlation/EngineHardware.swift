import CKernels
import Synchronization

/// What of the machine the engine may use: set once at the start. It changes the time an evaluation takes, never its outcome,
/// because whatever is computed in another order or precision only decides which pairs are looked at exactly.
public enum EngineHardware {
    /// Threads of one evaluation at most.
    public static let threadLimit = 64

    /// Calls a body with 0 ..< count, on several threads at once, and returns after the last call.
    public typealias Spread = @Sendable (_ count: Int, _ body: @Sendable (Int) -> Void) -> Void

    private struct Threads {
        var count = 1
        var spread: Spread?
    }

    private static let threading = Mutex(Threads())

    /// Threads that screening is spread over.
    public static var threads: Int { self.threading.withLock { $0.count } }

    /// Spreads screening over threads.
    ///
    /// - Parameters:
    ///   - count: 1 ... ``threadLimit``; any other is taken as the nearest of these.
    ///   - spread: threads are the caller's to make.
    public static func useThreads(_ count: Int, _ spread: @escaping Spread) {
        let count = min(self.threadLimit, max(1, count))
        self.threading.withLock { $0 = Threads(count: count, spread: spread) }
    }

    /// Whether kernels are chosen by what the processor can do; else those of the architecture's least processor run.
    public static var usesVectors: Bool {
        get { kernel_uses_vectors() != 0 }
        set { kernel_use_vectors(newValue ? 1 : 0) }
    }

    /// Calls must not touch what another changes.
    static func spread(_ count: Int, _ body: (Int) -> Void) {
        guard count > 1, let spread = self.threading.withLock({ $0.spread }) else {
            for index in 0..<count { body(index) }
            return
        }
        withoutActuallyEscaping(body) { body in
            let calls = Calls(body: body)
            spread(count) { calls.body($0) }
        }
    }

    // All calls end before `spread` returns, and by its contract they share nothing that changes.
    private struct Calls: @unchecked Sendable {
        let body: (Int) -> Void
    }
}
