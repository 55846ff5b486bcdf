import Testing

@testable import GraphBuilder

@Suite("Commit queue")
struct CommitQueueTests {
    static func limits(_ running: Int = 2, rows: Int = 100, jobs: Int = 4, waiting: Int = 1_000) -> CommitQueue.Limits {
        var limits = CommitQueue.Limits()
        limits.running = running
        limits.rowsPerGroup = rows
        limits.jobsPerGroup = jobs
        limits.waitingRows = waiting
        return limits
    }

    /// Whether each was added, in order.
    static func add(_ jobs: [(id: UInt64, rows: Int)], to queue: inout CommitQueue) -> [Bool] {
        jobs.map { queue.add($0.id, rows: $0.rows) }
    }

    static func drain(_ queue: inout CommitQueue) -> [[UInt64]] {
        var groups: [[UInt64]] = []
        while let group = queue.start() {
            groups.append(group)
            queue.finish()
        }
        return groups
    }

    @Test("the first goes alone and at once; those who come while all groups are busy go together")
    func grouping() {
        var queue = CommitQueue(limits: Self.limits())
        var groups = [queue.start()]
        for id in UInt64(1)...5 {
            _ = queue.add(id, rows: 10)
            groups.append(queue.start())
        }
        #expect(groups == [nil, [1], [2], nil, nil, nil])
        queue.finish()
        let next = queue.start()
        #expect(next == [3, 4, 5])
        #expect(queue.waitingJobs == 0 && queue.waitingRows == 0)
    }

    @Test("a group ends at its rows and at its jobs, and one job that is larger goes alone")
    func bounds() {
        var queue = CommitQueue(limits: Self.limits(1))
        let added = Self.add(
            [(1, 60), (2, 40), (3, 1), (4, 500), (5, 1), (6, 1), (7, 1), (8, 1), (9, 1)], to: &queue)
        #expect(!added.contains(false))
        let groups = Self.drain(&queue)
        #expect(groups == [[1, 2], [3], [4], [5, 6, 7, 8], [9]])
    }

    @Test("what does not fit is refused, but never when nothing waits")
    func refusing() {
        var queue = CommitQueue(limits: Self.limits(1, waiting: 100))
        var added = Self.add([(1, 5_000), (2, 1)], to: &queue)
        #expect(added == [true, false])
        let group = queue.start()
        #expect(group == [1])
        added = Self.add([(3, 100), (4, 1)], to: &queue)
        #expect(added == [true, false] && queue.waitingRows == 100)
    }

    @Test("any sequence takes every job exactly once, in order, within all bounds", arguments: 0..<20)
    func anySequence(seed: Int) {
        var generator = SeededGenerator(seed: UInt64(seed))
        let limits = Self.limits(
            Int.random(in: 1...3, using: &generator), rows: Int.random(in: 1...200, using: &generator),
            jobs: Int.random(in: 1...6, using: &generator), waiting: Int.random(in: 50...500, using: &generator))
        var queue = CommitQueue(limits: limits)
        var rows: [UInt64: Int] = [:]
        var accepted: [UInt64] = []
        var taken: [UInt64] = []
        var next: UInt64 = 0
        for _ in 0..<400 {
            switch Int.random(in: 0..<3, using: &generator) {
            case 0:
                next += 1
                rows[next] = Int.random(in: 0...80, using: &generator)
                let waited = queue.waitingJobs
                if queue.add(next, rows: rows[next] ?? 0) {
                    accepted.append(next)
                    #expect(waited == 0 || queue.waitingRows <= limits.waitingRows)
                }
            case 1:
                guard let group = queue.start() else {
                    #expect(queue.running == limits.running || queue.waitingJobs == 0)
                    continue
                }
                #expect(!group.isEmpty && group.count <= limits.jobsPerGroup && queue.running <= limits.running)
                #expect(group.count == 1 || group.reduce(0) { $0 + (rows[$1] ?? 0) } <= limits.rowsPerGroup)
                taken += group
            default:
                if queue.running > 0 { queue.finish() }
            }
        }
        while queue.running > 0 { queue.finish() }
        while let group = queue.start() {
            taken += group
            queue.finish()
        }
        #expect(taken == accepted && queue.waitingRows == 0)
    }
}
