import Engine
import PlantedData
import Testing

@Suite("Robust scale")
struct RobustScaleTests {
    @Test("the median is the middle of the sorted values, ties and all", arguments: [1, 2, 3, 4, 9, 50, 721])
    func median(count: Int) {
        var random = SeededNumbers(seed: UInt64(count))
        for _ in 0..<20 {
            let values = (0..<count).map { _ in (random.uniform() * 10).rounded() }
            let sorted = values.sorted()
            #expect(RobustScale.median(values) == (sorted[(count - 1) / 2] + sorted[count / 2]) / 2)
            #expect(RobustScale.upperMedian(values) == sorted[count / 2])
        }
        #expect(RobustScale.median([]) == nil && RobustScale.upperMedian([]) == nil)
    }

    @Test("noise of normal changes is their sd, and ten wild ones in a thousand hardly move it")
    func noise() {
        var random = SeededNumbers(seed: 3)
        var changes = (0..<1_000).map { _ in 2 * random.normal() }
        #expect((1.85...2.1).contains(RobustScale.noise(ofChanges: changes)))
        for index in 0..<10 { changes[index * 100] = 500 }
        #expect(RobustScale.noise(ofChanges: changes) < 2.8)
        #expect(RobustScale.noise(ofChanges: [0, 0, 0]) == 0)
    }

    @Test("alarm levels follow the budget: 4.14 sd for one evaluation a minute, less where windows overlap")
    func levels() {
        let budget = AlarmBudget()
        #expect(abs(budget.normalLevel(bucketMs: 60_000, sharers: 1) - 4.14) < 0.01)
        #expect(abs(budget.sequentialLevel(bucketMs: 60_000, sharers: 1) - 7.455) < 0.01)
        #expect(budget.sequentialLevel(bucketMs: 60_000, sharers: 20) > 10.4)
        #expect(abs(NormalQuantile.upper(0.025) - 1.959964) < 1e-6)
    }
}
