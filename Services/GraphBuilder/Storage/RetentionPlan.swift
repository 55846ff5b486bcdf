import Engine
import Model
import Postgres

/// What of the observations is kept. Counts back from each domain's own newest observation and never from the wall clock, so a
/// recording of 2018 lives as long as its days say, beside data of today. A value without I/O.
struct RetentionPlan: Sendable {
    typealias Day = ObservationPartitions.Day

    struct Domain: Sendable, Hashable {
        var name: String
        var newest: Timestamp
        /// Event time that evaluations look back on; kept whatever the setting says.
        var neededMs: Int64
    }

    /// Days before a domain's newest one that are kept, at least 1.
    let days: Int64
    private(set) var domains: [String: Domain] = [:]

    init(days: Int64, domains: [Domain]) {
        self.days = max(1, days)
        for domain in domains { self.add(domain) }
    }

    mutating func add(_ domain: Domain) {
        if let known = self.domains[domain.name], known.newest >= domain.newest { return }
        self.domains[domain.name] = domain
    }

    /// Everything of a domain before this time may go; nil for a domain nobody knows.
    func start(of domain: String) -> Timestamp? { self.domains[domain].map { self.firstDay($0).start } }

    /// Whether a domain keeps what it has on that day. What nobody knows is kept.
    func keeps(_ day: Day, of domain: String) -> Bool {
        guard let domain = self.domains[domain] else { return true }
        return day >= self.firstDay(domain) && day <= Day(containing: domain.newest)
    }

    /// The days on which no domain keeps anything, ascending; none while no domain is known.
    func retired(_ days: some Sequence<Day>) -> [Day] {
        guard !self.domains.isEmpty else { return [] }
        return days.filter { day in !self.domains.keys.contains { self.keeps(day, of: $0) } }.sorted()
    }

    private func firstDay(_ domain: Domain) -> Day {
        let needed = Day(containing: Timestamp(milliseconds: domain.newest.milliseconds - domain.neededMs))
        return min(needed, Day(number: Day(containing: domain.newest).number - self.days))
    }
}
