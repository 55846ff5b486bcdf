import Dispatch
import Synchronization

/// Runs asynchronous work to its end from the benchmarks' synchronous main thread, which is none of Swift's own threads.
enum BlockingTask {
    private final class Box<Value: Sendable>: Sendable {
        let result = Mutex<Result<Value, any Error>?>(nil)
    }

    static func run<Value: Sendable>(_ body: @escaping @Sendable () async throws -> Value) throws -> Value {
        let box = Box<Value>()
        let done = DispatchSemaphore(value: 0)
        Task {
            let result: Result<Value, any Error>
            do { result = .success(try await body()) } catch { result = .failure(error) }
            box.result.withLock { $0 = result }
            done.signal()
        }
        done.wait()
        guard let result = box.result.withLock({ $0 }) else {
            throw WrongAnswer(description: "the work ended without a result")
        }
        return try result.get()
    }
}
