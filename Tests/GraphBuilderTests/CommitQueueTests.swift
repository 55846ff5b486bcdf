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

    static let begin = ContinuousClock.now

    /// Whether each was added, in order.
    static func add(_ jobs: [(id: UInt64, rows: Int)], to queue: inout CommitQueue) -> [Bool] {
        jobs.map { queue.add($0.id, rows: $0.rows, now: Self.begin) }
    }

    static func drain(_ queue: inout CommitQueue) -> [[UInt64]] {
        var groups: [[UInt64]] = []
        while let group = queue.start(now: Self.begin) {
            groups.append(group)
            queue.finish()
        }
        return groups
    }

    @Test("the first goes alone and at once; those who come while all groups are busy go together")
    func grouping() {
        var queue = CommitQueue(limits: Self.limits())
        var groups = [queue.start(now: Self.begin)]
        for id in UInt64(1)...5 {
            _ = queue.add(id, rows: 10, now: Self.begin)
            groups.append(queue.start(now: Self.begin))
        }
        #expect(groups == [nil, [1], [2], nil, nil, nil])
        queue.finish()
        let next = queue.start(now: Self.begin)
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
        let group = queue.start(now: Self.begin)
        #expect(group == [1])
        added = Self.add([(3, 100), (4, 1)], to: &queue)
        #expect(added == [true, false] && queue.waitingRows == 100)
    }

    /// Groups of so many jobs, from clients that each send a small job again `serviceMs` after the last was committed; every
    /// client that has one waiting or under way is in `clients`. Times in milliseconds; at most one group is committed at once.
    static func closedLoop(clients: Int, serviceMs: Int, groups: Int) -> (sizes: [Int], milliseconds: Int) {
        var limits = CommitQueue.Limits()
        limits.running = 1
        var queue = CommitQueue(limits: limits)
        var sizes: [Int] = []
        var free = Array(0..<UInt64(clients))
        var under: (group: [UInt64], until: Int)?
        var time = 0
        while sizes.count < groups {
            let now = Self.begin + .milliseconds(time)
            if let group = under, group.until <= time {
                queue.finish()
                free += group.group
                under = nil
            }
            for client in free { _ = queue.add(client, rows: 20, now: now) }
            free = []
            if let group = queue.start(now: now) {
                sizes.append(group.count)
                under = (group, time + serviceMs)
            }
            time += 1
        }
        return (sizes, time)
    }

    @Test(
        "a client that sends one after the other hardly ever waits for company, few clients go together",
        arguments: [1, 2, 5])
    func closedLoop(clients: Int) {
        let (sizes, milliseconds) = Self.closedLoop(clients: clients, serviceMs: 3, groups: 1_000)
        #expect(sizes.suffix(900).allSatisfy { $0 == clients })
        // One trial in 64 groups costs 8 ms.
        #expect(milliseconds <= 1_000 * 3 + 1_000 / 64 * 8 + 8)
    }

    @Test("small jobs of many share commits, none waits longer than it may; many rows start at once")
    func gathering() throws {
        let limits = CommitQueue.Limits()
        var queue = CommitQueue(limits: limits)
        var since: [UInt64: Int] = [:]
        var sizes: [Int] = []
        var longest = 0
        // One job every 2 ms, each commit done at once.
        for time in 0..<4_000 {
            let now = Self.begin + .milliseconds(time)
            if time % 2 == 0 {
                let isAdded = queue.add(UInt64(time), rows: 20, now: now)
                #expect(isAdded)
                since[UInt64(time)] = time
            }
            while let group = queue.start(now: now) {
                sizes.append(group.count)
                longest = try max(longest, time - #require(group.compactMap { since[$0] }.min()))
                queue.finish()
            }
        }
        #expect(sizes.prefix(60).allSatisfy { $0 == 1 } && sizes.suffix(100).allSatisfy { (4...5).contains($0) })
        #expect(longest == limits.gatherMs)
        let now = Self.begin + .seconds(5)
        let (small, large) = (queue.add(100_000, rows: 20, now: now), queue.add(100_001, rows: 1_000, now: now))
        let group = queue.start(now: now)
        #expect(small && large && group?.suffix(2) == [100_000, 100_001])
        // That it did not wait says nothing about how many come together: two small ones still wait for more.
        queue.finish()
        let later = now + .seconds(1)
        let isAdded = [queue.add(100_002, rows: 20, now: later), queue.add(100_003, rows: 20, now: later)]
        #expect(isAdded == [true, true])
        let early = queue.start(now: later)
        #expect(early == nil)
    }

    @Test("any sequence takes every job exactly once, in order, within all bounds", arguments: 0..<20)
    func anySequence(seed: Int) {
        var generator = SeededGenerator(seed: UInt64(seed))
        var limits = Self.limits(
            Int.random(in: 1...3, using: &generator), rows: Int.random(in: 1...200, using: &generator),
            jobs: Int.random(in: 1...6, using: &generator), waiting: Int.random(in: 50...500, using: &generator))
        limits.groupsPerTrial = 3
        var queue = CommitQueue(limits: limits)
        var rows: [UInt64: Int] = [:]
        var accepted: [UInt64] = []
        var taken: [UInt64] = []
        var next: UInt64 = 0
        for step in 0..<400 {
            let now = Self.begin + .milliseconds(step)
            switch Int.random(in: 0..<3, using: &generator) {
            case 0:
                next += 1
                rows[next] = Int.random(in: 0...80, using: &generator)
                let waited = queue.waitingJobs
                if queue.add(next, rows: rows[next] ?? 0, now: now) {
                    accepted.append(next)
                    #expect(waited == 0 || queue.waitingRows <= limits.waitingRows)
                }
            case 1:
                guard let group = queue.start(now: now) else {
                    let isGathering = queue.nextStart.map { $0 > now } ?? false
                    #expect(queue.running == limits.running || queue.waitingJobs == 0 || isGathering)
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
        while let group = queue.start(now: Self.begin + .seconds(1)) {
            taken += group
            queue.finish()
        }
        #expect(taken == accepted && queue.waitingRows == 0)
    }
}
