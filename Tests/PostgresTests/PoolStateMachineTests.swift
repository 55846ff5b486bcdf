import Testing

@testable import Postgres

@Suite("Pool state machine")
struct PoolStateMachineTests {
    typealias Machine = PoolStateMachine

    static func waiter(_ number: UInt64) -> Machine.WaiterID { .init(number: number) }
    static func connection(_ number: Int) -> Machine.ConnectionID { .init(number: number) }
    static let settings = PostgresConfiguration.Pool(
        minimum: 0, maximum: 2, waiterLimit: 3, leaseTimeout: .seconds(5), idleTimeout: .seconds(60),
        lifetime: .seconds(600), backoff: .milliseconds(100) ... .seconds(2))

    @Test("waiters are served first come, first served")
    func fairness() {
        var machine = Machine(settings: Self.settings)
        #expect(machine.lease(Self.waiter(1), now: .zero, deadline: .seconds(5)) == [.open(Self.connection(0))])
        #expect(machine.lease(Self.waiter(2), now: .zero, deadline: .seconds(5)) == [.open(Self.connection(1))])
        #expect(machine.lease(Self.waiter(3), now: .zero, deadline: .seconds(5)) == [])
        let first = machine.opened(Self.connection(1), now: .seconds(1))
        #expect(first == [.grant(Self.waiter(1), Self.connection(1), waited: .seconds(1))])
        let second = machine.release(Self.connection(1), now: .seconds(2), isUsable: true)
        #expect(second == [.grant(Self.waiter(2), Self.connection(1), waited: .seconds(2))])
    }

    /// Seen to fail: without the bound.
    @Test("the queue is bounded and the next one is refused at once")
    func boundedQueue() {
        var machine = Machine(settings: Self.settings)
        for number in 1...3 { _ = machine.lease(Self.waiter(UInt64(number)), now: .zero, deadline: .seconds(5)) }
        let refused = machine.lease(Self.waiter(4), now: .zero, deadline: .seconds(5))
        #expect(refused == [.refuse(Self.waiter(4), .queueFull)])
    }

    @Test("a waiter is refused when its time is over, and not before")
    func leaseDeadline() {
        var machine = Machine(settings: Self.settings)
        _ = machine.lease(Self.waiter(1), now: .zero, deadline: .seconds(5))
        #expect(machine.nextTick(now: .zero) == .seconds(5))
        #expect(machine.tick(now: .milliseconds(4_999)) == [])
        #expect(machine.tick(now: .seconds(5)) == [.refuse(Self.waiter(1), .timedOut)])
        #expect(machine.opened(Self.connection(0), now: .seconds(6)) == [])
        #expect(machine.counts.idle == 1)
    }

    @Test("while the server is away callers are refused at once with the time of the next attempt")
    func away() {
        var machine = Machine(settings: Self.settings)
        _ = machine.lease(Self.waiter(1), now: .zero, deadline: .seconds(5))
        let failed = machine.openFailed(Self.connection(0), now: .seconds(1), jitter: 1)
        #expect(failed == [.refuse(Self.waiter(1), .unavailable(retryAfter: .milliseconds(100)))])
        let next = machine.lease(Self.waiter(2), now: .milliseconds(1_050), deadline: .seconds(5))
        #expect(next == [.refuse(Self.waiter(2), .unavailable(retryAfter: .milliseconds(50)))])
        // The pause is over: one attempt, not one per waiter, and those who ask meanwhile wait for it.
        let due = machine.lease(Self.waiter(3), now: .milliseconds(1_100), deadline: .seconds(5))
        #expect(due == [.open(Self.connection(1))])
        #expect(machine.lease(Self.waiter(4), now: .milliseconds(1_101), deadline: .seconds(5)) == [])
        let again = machine.opened(Self.connection(1), now: .milliseconds(1_200))
        #expect(again.first == .grant(Self.waiter(3), Self.connection(1), waited: .milliseconds(100)))
        #expect(again.contains(.open(Self.connection(2))))
    }

    @Test("pauses double up to the limit, with jitter below them")
    func backoff() {
        var machine = Machine(settings: Self.settings)
        var now = Duration.zero
        var pauses: [Duration] = []
        for number in 0..<8 {
            let actions = machine.lease(Self.waiter(UInt64(number)), now: now, deadline: now + .seconds(5))
            #expect(actions == [.open(Self.connection(number))])
            let refused = machine.openFailed(Self.connection(number), now: now, jitter: 1)
            guard case .refuse(_, .unavailable(let pause)) = refused.first else {
                Issue.record("not refused")
                return
            }
            pauses.append(pause)
            now += pause
        }
        #expect(
            pauses.prefix(5) == [
                .milliseconds(100), .milliseconds(200), .milliseconds(400), .milliseconds(800), .milliseconds(1_600),
            ])
        #expect(pauses.suffix(3).allSatisfy { $0 == .seconds(2) })
    }

    @Test("idle connections beyond the minimum and old ones are closed")
    func ageing() {
        var settings = Self.settings
        settings.minimum = 1
        var machine = Machine(settings: settings)
        #expect(machine.tick(now: .zero) == [.open(Self.connection(0))])
        _ = machine.opened(Self.connection(0), now: .zero)
        _ = machine.lease(Self.waiter(1), now: .zero, deadline: .seconds(5))
        _ = machine.lease(Self.waiter(2), now: .zero, deadline: .seconds(5))
        _ = machine.opened(Self.connection(1), now: .zero)
        _ = machine.release(Self.connection(0), now: .seconds(1), isUsable: true)
        _ = machine.release(Self.connection(1), now: .seconds(2), isUsable: true)
        #expect(machine.tick(now: .seconds(60)) == [])
        #expect(machine.tick(now: .seconds(61)) == [.close(Self.connection(0))])
        #expect(machine.tick(now: .seconds(120)) == [])
        #expect(machine.tick(now: .seconds(600)) == [.close(Self.connection(1)), .open(Self.connection(2))])
    }

    @Test("after shutting down everyone is refused and what comes back is closed")
    func shutDown() {
        var machine = Machine(settings: Self.settings)
        _ = machine.lease(Self.waiter(1), now: .zero, deadline: .seconds(5))
        _ = machine.opened(Self.connection(0), now: .zero)
        _ = machine.lease(Self.waiter(2), now: .zero, deadline: .seconds(5))
        #expect(machine.shutDown() == [.refuse(Self.waiter(2), .shutDown)])
        #expect(machine.opened(Self.connection(1), now: .zero) == [.close(Self.connection(1))])
        #expect(machine.release(Self.connection(0), now: .zero, isUsable: true) == [.close(Self.connection(0))])
        #expect(
            machine.lease(Self.waiter(3), now: .zero, deadline: .seconds(5)) == [.refuse(Self.waiter(3), .shutDown)])
    }

    @Test(
        "whatever happens, bounds hold, nobody is forgotten and nobody waits beside an idle connection",
        arguments: 1...20)
    func randomWalk(seed: UInt64) {
        var random = SplitMix(state: seed)
        var settings = Self.settings
        settings.minimum = Int(random.next() % 3)
        settings.maximum = 2 + Int(random.next() % 3)
        var machine = Machine(settings: settings)
        var world = World()
        for step in 0..<2_000 {
            world.now += .milliseconds(Int(random.next() % 400))
            world.step(&machine, &random, number: UInt64(step))
            let counts = machine.counts
            #expect(counts.opening + counts.idle + counts.leased <= settings.maximum)
            #expect(counts.waiters <= max(settings.waiterLimit, settings.maximum))
            #expect(counts.idle == 0 || counts.waiters == 0)
            #expect(counts.leased == world.leased.count)
            #expect(counts.waiters == world.waiting.count)
            #expect(counts.opening == world.opening.count)
            #expect(counts.idle == world.idle.count)
        }
        // Nobody starves: once time has passed, everyone who waited has been answered.
        world.now += .seconds(3)
        world.obey(machine.tick(now: world.now))
        #expect(world.waiting.isEmpty)
        world.obey(machine.shutDown())
        // No connection is lost: each that was ever asked for has failed or is closed once all have come back.
        for connection in world.opening { world.obey(machine.opened(connection, now: world.now)) }
        for connection in world.leased {
            world.leased.removeAll { $0 == connection }
            world.obey(machine.release(connection, now: world.now, isUsable: true))
        }
        #expect(world.asked == world.failed.union(world.closed))
        #expect(machine.counts == Machine.Counts(failures: machine.counts.failures))
    }

    /// What the shell would do with the machine's actions.
    struct World {
        var now = Duration.zero
        var waiting: Set<Machine.WaiterID> = []
        var opening: [Machine.ConnectionID] = []
        var leased: [Machine.ConnectionID] = []
        var idle: Set<Machine.ConnectionID> = []
        var asked: Set<Machine.ConnectionID> = []
        var failed: Set<Machine.ConnectionID> = []
        var closed: Set<Machine.ConnectionID> = []

        mutating func obey(_ actions: [Machine.Action]) {
            for action in actions {
                switch action {
                case .open(let connection):
                    self.opening.append(connection)
                    self.asked.insert(connection)
                case .close(let connection):
                    #expect(self.closed.insert(connection).inserted, "closed twice")
                    self.idle.remove(connection)
                case .grant(let waiter, let connection, _):
                    #expect(waiter.number == self.waiting.map(\.number).min(), "not the one who waited longest")
                    self.idle.remove(connection)
                    #expect(self.waiting.remove(waiter) != nil, "granted twice, or after a refusal")
                    #expect(!self.leased.contains(connection), "lent twice")
                    self.leased.append(connection)
                case .refuse(let waiter, _): #expect(self.waiting.remove(waiter) != nil, "answered twice")
                }
            }
        }

        mutating func step(_ machine: inout Machine, _ random: inout SplitMix, number: UInt64) {
            func pick<Element>(_ list: inout [Element]) -> Element? {
                list.isEmpty ? nil : list.remove(at: Int(random.next() % UInt64(list.count)))
            }
            switch random.next() % 7 {
            case 6:
                guard let connection = machine.leaseIdle() else {
                    #expect(self.idle.isEmpty)
                    return
                }
                #expect(self.idle.remove(connection) != nil, "lent while not idle")
                self.leased.append(connection)
            case 0, 1:
                let waiter = Machine.WaiterID(number: number)
                self.waiting.insert(waiter)
                self.obey(machine.lease(waiter, now: self.now, deadline: self.now + .seconds(2)))
            case 2:
                guard let connection = pick(&self.opening) else { return }
                if random.next() % 3 == 0 {
                    self.failed.insert(connection)
                    self.obey(machine.openFailed(connection, now: self.now, jitter: 0.5))
                } else {
                    self.idle.insert(connection)
                    self.obey(machine.opened(connection, now: self.now))
                }
            case 3:
                guard let connection = pick(&self.leased) else { return }
                self.idle.insert(connection)
                self.obey(machine.release(connection, now: self.now, isUsable: random.next() % 5 > 0))
            case 4:
                guard let waiter = self.waiting.min(by: { $0.number < $1.number }) else { return }
                self.obey(machine.cancel(waiter))
            default: self.obey(machine.tick(now: self.now))
            }
        }
    }

    struct SplitMix {
        var state: UInt64
        mutating func next() -> UInt64 {
            self.state &+= 0x9E37_79B9_7F4A_7C15
            var value = self.state
            value = (value ^ value >> 30) &* 0xBF58_476D_1CE4_E5B9
            value = (value ^ value >> 27) &* 0x94D0_49BB_1331_11EB
            return value ^ value >> 31
        }
    }
}
