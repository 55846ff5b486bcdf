/// Which commits go together. A value without I/O: work that waits while others commit is taken in one group, so the cost of
/// a commit (a round trip and a flush of the log to disk) is shared by all who wait, and nobody waits for company.
struct CommitQueue: Sendable {
    struct Limits: Sendable, Hashable {
        /// Groups that are being committed at once.
        var running = 2
        /// Rows of a group; a single job may have more.
        var rowsPerGroup = 20_000
        var jobsPerGroup = 64
        /// Rows that may wait; a job beyond that is refused, unless nothing waits.
        var waitingRows = 400_000

        init() {}
    }

    typealias JobID = UInt64

    private struct Waiting {
        var id: JobID
        var rows: Int
    }

    let limits: Limits
    private var waiting: [Waiting] = []
    private(set) var waitingRows = 0
    private(set) var running = 0

    init(limits: Limits = Limits()) {
        precondition(limits.running > 0 && limits.jobsPerGroup > 0, "nothing would ever be committed")
        self.limits = limits
    }

    var waitingJobs: Int { self.waiting.count }

    /// - Returns: false when too much waits already.
    mutating func add(_ id: JobID, rows: Int) -> Bool {
        guard self.waiting.isEmpty || self.waitingRows + rows <= self.limits.waitingRows else { return false }
        self.waiting.append(Waiting(id: id, rows: rows))
        self.waitingRows += rows
        return true
    }

    /// Takes a job out that nobody waits for any more.
    mutating func remove(_ ids: Set<JobID>) {
        self.waiting.removeAll { ids.contains($0.id) }
        self.waitingRows = self.waiting.reduce(0) { $0 + $1.rows }
    }

    /// The next group to commit, in order of arrival; nil when none waits or enough are being committed.
    mutating func start() -> [JobID]? {
        guard self.running < self.limits.running, !self.waiting.isEmpty else { return nil }
        var rows = 0
        let group = self.waiting.prefix { job in
            rows += job.rows
            return rows <= self.limits.rowsPerGroup
        }
        let count = max(1, min(group.count, self.limits.jobsPerGroup))
        let taken = self.waiting.prefix(count)
        self.waitingRows -= taken.reduce(0) { $0 + $1.rows }
        self.waiting.removeFirst(count)
        self.running += 1
        return taken.map(\.id)
    }

    /// A group's commit came to an end.
    mutating func finish() {
        precondition(self.running > 0, "more groups ended than began")
        self.running -= 1
    }
}
