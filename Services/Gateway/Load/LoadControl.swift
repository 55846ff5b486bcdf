import Foundation
import Model
import Synchronization

/// Refuses work the gateway or a service cannot take: by kind of work, by how the service answers, by memory.
final class LoadControl: Sendable {
    /// A place at a service, given back once.
    struct Permit: Hashable, Sendable {
        fileprivate let upstream: Upstream
        fileprivate let work: WorkClass
    }

    private let builder = Mutex(UpstreamLimit())
    private let propagation = Mutex(UpstreamLimit())
    /// nil: no ceiling.
    private let memoryCeiling: Int?
    private let resident = Atomic<Int>(0)

    init(memoryCeiling: Int? = nil) { self.memoryCeiling = memoryCeiling }

    /// - Returns: nil when the service has as many requests as it answers without getting slower, or this kind its share of them.
    func begin(_ upstream: Upstream, _ work: WorkClass) -> Permit? {
        self.with(upstream) { $0.begin(work) } ? Permit(upstream: upstream, work: work) : nil
    }

    func end(_ permit: Permit, _ outcome: GradientLimit.Outcome) {
        let now = MonotonicClock.nanoseconds()
        self.with(permit.upstream) { $0.end(permit.work, outcome, now: now) }
    }

    /// Requests of a kind at a service, and what is compared when there is no room for one more.
    func figures(_ upstream: Upstream, _ work: WorkClass) -> (inFlight: Int, bound: UpstreamLimit.Bound) {
        self.with(upstream) { ($0.inFlight(work), $0.bound(work)) }
    }

    private func with<Result: Sendable>(_ upstream: Upstream, _ body: (inout UpstreamLimit) -> Result) -> Result {
        upstream == .graphBuilder ? self.builder.withLock { body(&$0) } : self.propagation.withLock { body(&$0) }
    }

    // MARK: - Memory

    /// Resident bytes when they leave no room for this kind of work.
    func memoryExcess(_ work: WorkClass) -> (resident: Int, bound: Int)? {
        guard let memoryCeiling, work != .health else { return nil }
        let bound = Int(Double(memoryCeiling) * work.memoryShare)
        let resident = self.resident.load(ordering: .relaxed)
        return resident > bound ? (resident, bound) : nil
    }

    /// Looks at the memory of this process; called once a second.
    func measureMemory() {
        guard self.memoryCeiling != nil else { return }
        if let resident = Self.residentBytes() { self.resident.store(resident, ordering: .relaxed) }
    }

    func setResident(_ bytes: Int) { self.resident.store(bytes, ordering: .relaxed) }

    private static func residentBytes() -> Int? {
        guard let data = FileManager.default.contents(atPath: "/proc/self/statm") else { return nil }
        let words = String(decoding: data, as: UTF8.self).split(separator: " ")
        return words.count > 1 ? Int(words[1]).map { $0 * Int(sysconf(Int32(_SC_PAGESIZE))) } : nil
    }
}
