import Model

/// What kind of work a request is: under load the last kinds are refused first.
enum WorkClass: Int, CaseIterable, Hashable, Sendable {
    case health, read, build, bulk

    /// The part of all places, here and at a service, that this kind may fill: what is above is kept for the kinds before it.
    var share: Double {
        switch self {
        case .health: 1
        case .read: 0.95
        case .build: 0.85
        case .bulk: 0.7
        }
    }

    /// Whether it also has a limit of its own at a service.
    var isBounded: Bool { self == .build || self == .bulk }

    /// The part of the memory ceiling from which this kind is refused.
    var memoryShare: Double {
        switch self {
        case .health: .infinity
        case .read: 1
        case .build: 0.95
        case .bulk: 0.9
        }
    }
}

extension APIRoute {
    /// Reads whose answer is computed for each question.
    private static let computing: Set<String> = ["/v1/events/{id}/changes", "/v1/graphs/diff"]

    var workClass: WorkClass {
        if self.scope == nil || self.upstream == .gateway { return .health }
        if self.scope == .ingest { return .bulk }
        return self.method == .get && !Self.computing.contains(self.path) ? .read : .build
    }
}
