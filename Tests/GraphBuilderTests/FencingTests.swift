import Model
import Postgres
import TestSupport
import Testing

@testable import GraphBuilder

@Suite("Fencing")
struct FencingTests {
    static let event = "alpha"
    static var shard: Shard { Shard(event: self.event) }

    static func batch(_ bucket: Int64) -> EvaluationBatch {
        var batch = EvaluationBatch()
        batch.evaluations = [
            .init(
                shard: self.shard, domain: "d", windowEnd: Timestamp(milliseconds: bucket * 60_000), bucketMs: 60_000,
                durationUs: 1)
        ]
        return batch
    }

    static func count(_ pool: PostgresPool) async throws -> Int64 {
        try await pool.query("SELECT count(*) FROM evaluations").column(Int64.self).first ?? -1
    }

    @Test("a write under an old epoch is refused and leaves nothing, the new owner's lands")
    func staleOwner() async throws {
        try await TestDatabase.with { database in
            try await database.withPool { pool in
                func store(_ name: String) -> LeaseStore {
                    LeaseStore(pool: pool, replica: name, address: "\(name):1", validity: .milliseconds(100))
                }
                let old = try await store("old").claim(64)
                #expect(old.count == 64)
                let writer = EvaluationWriter(pool: pool, replica: "old")
                let revisions = try await writer.write(Self.batch(1), epochs: old)
                #expect(revisions == [Self.shard: 1])
                try await Task.sleep(for: .milliseconds(200))
                let new = try await store("new").claim(64)
                #expect(new[Self.shard] == (old[Self.shard] ?? 0) + 1)
                await #expect(throws: StaleOwner.self) { try await writer.write(Self.batch(2), epochs: old) }
                // Not even with the right epoch, for it is not the owner.
                await #expect(throws: StaleOwner.self) { try await writer.write(Self.batch(2), epochs: new) }
                #expect(try await Self.count(pool) == 1)
                let next = try await EvaluationWriter(pool: pool, replica: "new").write(Self.batch(3), epochs: new)
                #expect(next == [Self.shard: 2])
                #expect(try await Self.count(pool) == 2)
            }
        }
    }

    @Test("an owner that lost a shard and took it again cannot write what it began under the old epoch")
    func sameOwnerOldEpoch() async throws {
        try await TestDatabase.with { database in
            try await database.withPool { pool in
                let store = LeaseStore(pool: pool, replica: "one", address: "one:1", validity: .seconds(60))
                let old = try await store.claim(64)
                try await store.release([Self.shard])
                let new = try await store.claim(64)
                #expect(new == [Self.shard: (old[Self.shard] ?? 0) + 1])
                let writer = EvaluationWriter(pool: pool, replica: "one")
                let refusal = await #expect(throws: StaleOwner.self) {
                    try await writer.write(Self.batch(1), epochs: old)
                }
                #expect(refusal?.shards == [Self.shard])
                #expect(try await Self.count(pool) == 0)
                #expect(try await writer.write(Self.batch(2), epochs: new) == [Self.shard: 1])
                // Nor can anybody write what the batch touches and nobody gave an epoch for.
                await #expect(throws: StaleOwner.self) { try await writer.write(Self.batch(3), epochs: [:]) }
                #expect(try await Self.count(pool) == 1)
            }
        }
    }

    @Test("nobody can claim what is held, and what was given back is free at once")
    func claiming() async throws {
        try await TestDatabase.with { database in
            try await database.withPool { pool in
                let one = LeaseStore(pool: pool, replica: "one", address: "one:1", validity: .seconds(60))
                let two = LeaseStore(pool: pool, replica: "two", address: "two:1", validity: .seconds(60))
                async let first = one.claim(40)
                async let second = two.claim(40)
                let (held, others) = try await (first, second)
                #expect(held.count + others.count == 64)
                #expect(Set(held.keys).isDisjoint(with: others.keys))
                #expect(try await two.claim(64).isEmpty)
                let shards = held.keys.sorted()
                #expect(try await one.renew(shards).renewed == held)
                #expect(try await two.renew(shards).renewed.isEmpty)
                #expect(try await two.renew([]).alive == 2)
                try await one.release(shards)
                #expect(try await two.claim(64).count == held.count)
                try await one.leave()
                #expect(try await two.renew([]).alive == 1)
            }
        }
    }

    @Test("a holder whose shard was taken throws its unwritten work away and goes on with the rest")
    func engineDropsLostShards() async throws {
        try await TestDatabase.with { database in
            try await database.withPool { pool in
                try await Feed.declare(EvaluationEngineTests.profile, in: pool)
                try await Feed.store(
                    Feed.observations(domain: "d", events: EvaluationEngineTests.events, count: 50), in: pool)
                let replica = Replica(pool, name: "one")
                await replica.keeper.round()
                // Behind its back: the database gives one shard to somebody else.
                try await pool.query(
                    "UPDATE shard_leases SET owner = 'thief', epoch = epoch + 1 WHERE shard = $1", [.shard(Self.shard)])
                try await replica.engine.catchUp()
                let shards = Set(
                    try await pool.query("SELECT DISTINCT shard FROM evaluations").column(Shard.self))
                #expect(shards == Set(["beta", "gamma"].map(Shard.init(event:))))
                #expect(replica.graphs.entry(Self.event) == nil)
                #expect(replica.graphs.entry("beta") != nil)
            }
        }
    }
}
