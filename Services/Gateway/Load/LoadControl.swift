import Foundation
import Model
import Synchronization

/// Refuses work the gateway or a service cannot take: by kind of work, by how the service answers, by memory.
final class LoadControl: Sendable {
    private final class Lane: Sendable {
        let limit = Mutex(GradientLimit())
    }

    /// A place at a service, given back once.
    struct Permit: Hashable, Sendable {
        fileprivate let lane: Int
    }

    private let lanes: [Lane]
    /// nil: no ceiling.
    private let memoryCeiling: Int?
    private let resident = Atomic<Int>(0)

    init(memoryCeiling: Int? = nil) {
        self.lanes = (0..<2 * WorkClass.allCases.count).map { _ in Lane() }
        self.memoryCeiling = memoryCeiling
    }

    /// - Returns: nil when the service has as many requests of this kind as it answers without getting slower.
    func begin(_ upstream: Upstream, _ work: WorkClass) -> Permit? {
        let lane = (upstream == .graphBuilder ? 0 : 1) * WorkClass.allCases.count + work.rawValue
        return self.lanes[lane].limit.withLock { $0.begin() } ? Permit(lane: lane) : nil
    }

    /// - Parameter latency: nanoseconds to the head of the answer; nil when there was none.
    func end(_ permit: Permit, latency: Int64?, isDropped: Bool) {
        let now = MonotonicClock.nanoseconds()
        self.lanes[permit.lane].limit.withLock { $0.end(latency: latency, isDropped: isDropped, now: now) }
    }

    /// What is compared when a service is full: requests there now and the limit.
    func figures(_ upstream: Upstream, _ work: WorkClass) -> (inFlight: Int, limit: Int) {
        let lane = (upstream == .graphBuilder ? 0 : 1) * WorkClass.allCases.count + work.rawValue
        return self.lanes[lane].limit.withLock { ($0.inFlight, Int($0.limit)) }
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
