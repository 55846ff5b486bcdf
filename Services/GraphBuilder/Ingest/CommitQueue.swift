/// Which commits go together. A value without I/O: work that waits while others commit is taken in one group, so the cost of
/// a commit (round trips and a flush of the log to disk) is shared by all who wait.
///
/// Small jobs wait a moment for as many as came together lately. That number is learnt: now and then a group waits for one more,
/// and one that waited in vain takes the number back to what came. So a client that sends one job after the other waits for nobody,
/// while many who send little share commits.
struct CommitQueue: Sendable {
    struct Limits: Sendable, Hashable {
        /// Groups that are being committed at once.
        var running = 2
        /// Rows of a group; a single job may have more.
        var rowsPerGroup = 20_000
        var jobsPerGroup = 64
        /// Rows that may wait; a job beyond that is refused, unless nothing waits.
        var waitingRows = 400_000
        /// The longest a job waits for company.
        var gatherMs = 8
        /// So many waiting rows are worth a group of their own.
        var rowsAtOnce = 1_000
        /// After so many groups that were complete, one waits for one job more.
        var groupsPerTrial = 64

        init() {}
    }

    typealias JobID = UInt64

    private struct Waiting {
        var id: JobID
        var rows: Int
        var since: ContinuousClock.Instant
    }

    let limits: Limits
    private var waiting: [Waiting] = []
    private(set) var waitingRows = 0
    private(set) var running = 0
    /// Jobs that came together lately.
    private(set) var company = 1
    private var completeGroups = 0

    init(limits: Limits = Limits()) {
        precondition(limits.running > 0 && limits.jobsPerGroup > 0, "nothing would ever be committed")
        self.limits = limits
    }

    var waitingJobs: Int { self.waiting.count }

    /// - Returns: false when too much waits already.
    mutating func add(_ id: JobID, rows: Int, now: ContinuousClock.Instant) -> Bool {
        guard self.waiting.isEmpty || self.waitingRows + rows <= self.limits.waitingRows else { return false }
        self.waiting.append(Waiting(id: id, rows: rows, since: now))
        self.waitingRows += rows
        return true
    }

    /// Takes a job out that nobody waits for any more.
    mutating func remove(_ ids: Set<JobID>) {
        self.waiting.removeAll { ids.contains($0.id) }
        self.waitingRows = self.waiting.reduce(0) { $0 + $1.rows }
    }

    /// When the next group begins without anything else happening: the past when it could now, nil when none waits or enough are
    /// being committed.
    var nextStart: ContinuousClock.Instant? {
        guard self.running < self.limits.running, let oldest = self.waiting.first else { return nil }
        let isComplete = self.waiting.count >= self.company || self.waitingRows >= self.limits.rowsAtOnce
        return isComplete ? oldest.since : oldest.since + .milliseconds(self.limits.gatherMs)
    }

    /// The next group to commit, in order of arrival; nil when none is due.
    mutating func start(now: ContinuousClock.Instant) -> [JobID]? {
        guard let nextStart, nextStart <= now else { return nil }
        self.learnCompany()
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

    private mutating func learnCompany() {
        guard self.waiting.count >= self.company else {
            // A group that is large enough by its rows did not wait for company.
            if self.waitingRows < self.limits.rowsAtOnce { self.company = self.waiting.count }
            return
        }
        self.completeGroups += 1
        guard self.completeGroups >= self.limits.groupsPerTrial else { return }
        self.completeGroups = 0
        self.company = min(self.company + 1, self.limits.jobsPerGroup)
    }

    /// A group's commit came to an end.
    mutating func finish() {
        precondition(self.running > 0, "more groups ended than began")
        self.running -= 1
    }
}
