import CKernels
import Dispatch
import Synchronization

/// What of the machine the engine may use: set once at the start. It changes the time an evaluation takes, never its outcome,
/// because whatever is computed in another order or precision only decides which pairs are looked at exactly.
public enum EngineHardware {
    /// Threads of one evaluation at most.
    public static let threadLimit = 64

    private static let threadCount = Atomic<Int>(1)

    /// Threads that screening is spread over, 1 ... ``threadLimit``; others are taken as the nearest of these.
    public static var threads: Int {
        get { self.threadCount.load(ordering: .relaxed) }
        set { self.threadCount.store(min(self.threadLimit, max(1, newValue)), ordering: .relaxed) }
    }

    /// Whether kernels are chosen by what the processor can do; else those of the architecture's least processor run.
    public static var usesVectors: Bool {
        get { kernel_uses_vectors() != 0 }
        set { kernel_use_vectors(newValue ? 1 : 0) }
    }

    /// Calls `body` with 0 ..< count on several threads at once and returns after the last call. Calls must not touch what
    /// another changes.
    static func spread(_ count: Int, _ body: (Int) -> Void) {
        guard count > 1 else {
            if count == 1 { body(0) }
            return
        }
        withoutActuallyEscaping(body) { body in
            let calls = Calls(body: body)
            DispatchQueue.concurrentPerform(iterations: count) { calls.body($0) }
        }
    }

    // All calls end before `spread` returns, and by its contract they share nothing that changes.
    private struct Calls: @unchecked Sendable {
        let body: (Int) -> Void
    }
}
