import Model
import Testing

@testable import GraphBuilder

@Suite("Evaluation schedule")
struct EvaluationScheduleTests {
    static func domain(newest: Int64, bucket: Int64 = 60, lateness: Int64 = 60, first: Int64 = 0)
        -> EvaluationSchedule.Domain
    {
        EvaluationSchedule.Domain(bucketMs: bucket, latenessMs: lateness, newestMs: newest, firstBucket: first)
    }

    static func due(_ step: EvaluationSchedule.Step) -> EvaluationSchedule.Due? {
        if case .evaluate(let due) = step { due } else { nil }
    }

    @Test("a bucket is due once the watermark has reached its end, and not a millisecond before")
    func closing() {
        var schedule = EvaluationSchedule()
        schedule.set(Self.domain(newest: 659), for: "a")
        #expect(schedule.step("a", next: 9) == .nothing)
        schedule.set(Self.domain(newest: 660), for: "a")
        #expect(Self.due(schedule.step("a", next: 9))?.windowEnd == Timestamp(milliseconds: 600))
        #expect(schedule.step("a", next: 10) == .nothing)
        #expect(schedule.step("a", next: nil) == .nothing)
        #expect(schedule.step("unknown", next: 1) == .nothing)
    }

    @Test("buckets before 1970 close like any other")
    func negativeTimes() {
        var schedule = EvaluationSchedule()
        schedule.set(Self.domain(newest: -541, first: -100), for: "a")
        #expect(schedule.step("a", next: -11) == .nothing)
        schedule.set(Self.domain(newest: -540, first: -100), for: "a")
        #expect(Self.due(schedule.step("a", next: -11))?.windowEnd == Timestamp(milliseconds: -600))
    }

    @Test("a partner takes part when it is closed up to the aligned window end")
    func readyPartner() {
        var schedule = EvaluationSchedule()
        schedule.set(Self.domain(newest: 700), for: "a")
        // Meets on 300: aligned end of 600 is 600; its watermark is 900 - 300.
        schedule.set(Self.domain(newest: 900, bucket: 300, lateness: 300), for: "b")
        #expect(Self.due(schedule.step("a", next: 9))?.partners == .init(ready: ["b"], late: []))
    }

    @Test("a partner that was heard of within three coarse buckets is waited for, one that is silent longer is not")
    func waitsForTheLate() {
        var schedule = EvaluationSchedule()
        schedule.set(Self.domain(newest: 700), for: "a")
        schedule.set(Self.domain(newest: 500), for: "b")
        #expect(schedule.step("a", next: 9) == .wait(for: ["b"], coarseMs: 60))
        schedule.set(Self.domain(newest: 419), for: "b")
        #expect(Self.due(schedule.step("a", next: 9))?.partners == .init())
    }

    @Test("after ten coarse buckets of own progress a late partner degrades the layer instead of holding it up")
    func patienceEnds() {
        var schedule = EvaluationSchedule()
        schedule.set(Self.domain(newest: 1_259), for: "a")
        schedule.set(Self.domain(newest: 500), for: "b")
        #expect(schedule.step("a", next: 9) == .wait(for: ["b"], coarseMs: 60))
        schedule.set(Self.domain(newest: 1_260), for: "a")
        #expect(Self.due(schedule.step("a", next: 9))?.partners == .init(ready: [], late: ["b"]))
    }

    @Test("two clocks meet at the last end of the coarser one, and one is heard of for exactly three coarse buckets")
    func unequalClocks() {
        var schedule = EvaluationSchedule()
        // Ends at 660; on buckets of 300 that is 600.
        schedule.set(Self.domain(newest: 2_000), for: "a")
        schedule.set(Self.domain(newest: 899, bucket: 300, lateness: 300), for: "b")
        #expect(schedule.partners(of: "a", at: 10) == .init(ready: [], late: ["b"]))
        schedule.set(Self.domain(newest: 900, bucket: 300, lateness: 300), for: "b")
        #expect(schedule.partners(of: "a", at: 10) == .init(ready: ["b"], late: []))
        // The coarse one looks at the fine one at its own end, 900.
        #expect(schedule.partners(of: "b", at: 2) == .init(ready: ["a"], late: []))
        schedule.set(Self.domain(newest: 959), for: "a")
        #expect(schedule.partners(of: "b", at: 2) == .init(ready: [], late: ["a"]))
        schedule.set(Self.domain(newest: 2_000), for: "a")
        // Aligned end 1,500: three buckets of 300 before it are 600.
        for (newest, late) in [(Int64(600), ["b"]), (599, [])] {
            schedule.set(Self.domain(newest: newest, bucket: 300, lateness: 300), for: "b")
            #expect(schedule.partners(of: "a", at: 25) == .init(ready: [], late: late))
        }
        // A partner whose first bucket begins with the aligned end has nothing to compare; one that begins before has.
        for (first, ready) in [(Int64(5), [String]()), (4, ["b"])] {
            schedule.set(Self.domain(newest: 9_000, bucket: 300, lateness: 300, first: first), for: "b")
            #expect(schedule.partners(of: "a", at: 25) == .init(ready: ready, late: []))
        }
    }

    @Test("without waiting, a partner that may still deliver is late at once")
    func noWaiting() {
        var schedule = EvaluationSchedule()
        schedule.set(Self.domain(newest: 700), for: "a")
        schedule.set(Self.domain(newest: 500), for: "b")
        #expect(Self.due(schedule.step("a", next: 9, waits: false))?.partners == .init(ready: [], late: ["b"]))
    }

    @Test("recordings of other years do not meet")
    func unrelated() {
        var schedule = EvaluationSchedule()
        schedule.set(Self.domain(newest: 700), for: "a")
        schedule.set(Self.domain(newest: 90_000_000, first: 1_000_000), for: "later")
        schedule.set(Self.domain(newest: -90_000_000, first: -2_000_000), for: "earlier")
        #expect(Self.due(schedule.step("a", next: 9))?.partners == .init())
    }
}
