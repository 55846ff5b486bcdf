import Synchronization

/// What queries ask for, by their text: clients repeat themselves, and reading a query costs more than answering it from memory.
final class QuestionCache: Sendable {
    /// When it is full it is emptied.
    static let limit = 1_024
    /// Longer queries are read each time.
    static let textLimit = 512

    private let known = Mutex([Substring: GraphRoutes.Question]())

    /// nil for what cannot be read.
    func question(_ query: Substring) -> GraphRoutes.Question? {
        if let question = self.known.withLock({ $0[query] }) { return question }
        guard let question = try? GraphRoutes.Question(String(query)) else { return nil }
        guard query.utf8.count <= Self.textLimit else { return question }
        self.known.withLock { known in
            if known.count >= Self.limit { known.removeAll(keepingCapacity: true) }
            // A copy, so that no more of the request is kept.
            known[Substring(String(query))] = question
        }
        return question
    }
}
