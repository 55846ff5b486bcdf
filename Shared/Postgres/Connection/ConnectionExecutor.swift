import Foundation

/// Runs one connection's blocking libpq calls on a thread of its own, never on Swift's cooperative pool, which has one thread per
/// core: two connections that wait for a lock would stop the whole process.
final class ConnectionExecutor: SerialExecutor {
    private let worker: Worker

    init(label: String) {
        let worker = Worker()
        self.worker = worker
        let thread = Thread { worker.run() }
        thread.name = label
        // libpq and our own frames are shallow; a megabyte is ample.
        thread.stackSize = 1 << 20
        thread.start()
    }

    deinit { self.worker.stop() }

    func enqueue(_ job: consuming ExecutorJob) {
        self.worker.add(UnownedJob(job), of: self)
    }

    /// The thread's queue.
    ///
    /// `@unchecked Sendable`: all mutable state is touched only with `condition` locked.
    private final class Worker: @unchecked Sendable {
        private let condition = NSCondition()
        /// Each job keeps its executor until it has run: it may be what releases the actor.
        private var jobs: [(job: UnownedJob, executor: ConnectionExecutor)] = []
        private var isStopped = false

        func add(_ job: UnownedJob, of executor: ConnectionExecutor) {
            self.condition.lock()
            self.jobs.append((job, executor))
            self.condition.signal()
            self.condition.unlock()
        }

        func stop() {
            self.condition.lock()
            self.isStopped = true
            self.condition.signal()
            self.condition.unlock()
        }

        func run() {
            while let jobs = self.next() {
                for (job, executor) in jobs { job.runSynchronously(on: executor.asUnownedSerialExecutor()) }
            }
        }

        /// Waits for jobs; nil when there will be none any more.
        private func next() -> [(job: UnownedJob, executor: ConnectionExecutor)]? {
            self.condition.lock()
            defer { self.condition.unlock() }
            while self.jobs.isEmpty {
                if self.isStopped { return nil }
                self.condition.wait()
            }
            defer { self.jobs.removeAll(keepingCapacity: true) }
            return self.jobs
        }
    }
}
