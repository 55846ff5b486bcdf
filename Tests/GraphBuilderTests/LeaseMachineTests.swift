import Model
import Testing

@testable import GraphBuilder

@Suite("Lease machine")
struct LeaseMachineTests {
    static func machine(holding count: Int, at time: Duration = .zero) -> LeaseMachine {
        var machine = LeaseMachine(validity: .seconds(10))
        machine.claimed(Dictionary(uniqueKeysWithValues: Shard.all.prefix(count).map { ($0, 7) }), sentAt: time)
        return machine
    }

    @Test(
        "each of n replicas aims at 64 / n shards, rounded up",
        arguments: [(1, 64), (2, 32), (3, 22), (5, 13), (64, 1)])
    func target(alive: Int, expected: Int) {
        #expect(LeaseMachine.target(alive: alive) == expected)
        #expect(LeaseMachine.target(alive: alive) * alive >= Shard.count)
    }

    @Test("a holder stops at half the validity, counted from when the renewal was sent")
    func stopsAtHalf() {
        let machine = Self.machine(holding: 1, at: .seconds(100))
        let shard = Shard.all[0]
        #expect(machine.epoch(of: shard, now: .milliseconds(104_999)) == 7)
        #expect(machine.epoch(of: shard, now: .seconds(105)) == nil)
        #expect(machine.trusted(now: .seconds(105)).isEmpty)
    }

    @Test("a renewal counts from when it was sent, and never shortens what was granted")
    func renewal() {
        var machine = Self.machine(holding: 1, at: .seconds(10))
        let shard = Shard.all[0]
        #expect(machine.renewed([shard: 7], asked: [shard], sentAt: .seconds(12)) == [])
        #expect(machine.epoch(of: shard, now: .seconds(16)) == 7)
        #expect(machine.renewed([shard: 7], asked: [shard], sentAt: .seconds(11)) == [])
        #expect(machine.epoch(of: shard, now: .milliseconds(16_500)) == 7)
    }

    @Test("what is not confirmed under the own epoch is lost")
    func lost() {
        var machine = Self.machine(holding: 3)
        let asked = Array(Shard.all.prefix(3))
        let lost = machine.renewed([asked[0]: 7, asked[1]: 8], asked: asked, sentAt: .seconds(1))
        #expect(lost == [asked[1], asked[2]])
        #expect(Set(machine.holdings.keys) == [asked[0]])
    }

    @Test("a refused write of an old epoch does not drop a newer claim")
    func dropNamesTheEpoch() {
        var machine = Self.machine(holding: 1)
        machine.dropped(Shard.all[0], epoch: 6)
        #expect(machine.holdings.count == 1)
        machine.dropped(Shard.all[0], epoch: 7)
        #expect(machine.holdings.isEmpty)
    }

    @Test("shards are given back one at a time, and claimed up to the target")
    func plan() {
        #expect(Self.machine(holding: 64).plan(alive: 2).release == Shard.all[63])
        #expect(Self.machine(holding: 64).plan(alive: 2).claim == 0)
        #expect(
            Self.machine(holding: 20).plan(alive: 2)
                == LeaseMachine.Plan(
                    renew: Array(Shard.all.prefix(20)), release: nil, claim: 12))
    }

    @Test("any number of replicas ends with every shard held once", arguments: [1, 2, 3, 7, 64, 100])
    func converges(replicas: Int) {
        var machines = Array(repeating: LeaseMachine(validity: .seconds(10)), count: replicas)
        // The first starts alone and takes everything.
        machines[0].claimed(Dictionary(uniqueKeysWithValues: Shard.all.map { ($0, 1) }), sentAt: .zero)
        var free: [Shard] = []
        for _ in 0..<200 {
            for index in machines.indices {
                let plan = machines[index].plan(alive: replicas)
                if let shard = plan.release {
                    machines[index].dropped(shard, epoch: machines[index].holdings[shard]?.epoch ?? 0)
                    free.append(shard)
                }
                let granted = free.prefix(plan.claim)
                machines[index].claimed(Dictionary(uniqueKeysWithValues: granted.map { ($0, 2) }), sentAt: .zero)
                free.removeFirst(granted.count)
            }
        }
        let held = machines.flatMap { Array($0.holdings.keys) }
        #expect(held.count + free.count == Shard.count)
        #expect(Set(held).count == held.count)
        #expect(free.isEmpty)
        #expect(machines.allSatisfy { $0.holdings.count <= LeaseMachine.target(alive: replicas) })
    }
}
