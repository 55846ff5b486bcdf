import Foundation

/// What the engine answered about one set, without any label.
struct SetAnswer: Codable {
    var market: [MarketAnswer] = []
    var rankings: [RankingAnswer] = []
    var servers: [ServerAnswer] = []
}

/// Keeps the answers in files, so that nothing but what was written before labels were read is scored.
struct AnswerStore {
    private let folder: URL
    private let isKept: Bool

    /// - Parameter folder: nil: a temporary one.
    init(_ folder: URL?) throws {
        self.folder =
            folder ?? FileManager.default.temporaryDirectory.appending(path: "accuracy-\(UUID().uuidString)")
        self.isKept = folder != nil
        try FileManager.default.createDirectory(at: self.folder, withIntermediateDirectories: true)
    }

    func write(_ answer: SetAnswer, of set: RecordedSet) throws {
        try JSONEncoder().encode(answer).write(to: self.file(set), options: .atomic)
    }

    func read(_ set: RecordedSet) throws -> SetAnswer {
        try JSONDecoder().decode(SetAnswer.self, from: Data(contentsOf: self.file(set)))
    }

    func discard() {
        if !self.isKept { try? FileManager.default.removeItem(at: self.folder) }
    }

    private func file(_ set: RecordedSet) -> URL {
        self.folder.appending(path: set.name.split(separator: "/").joined(separator: "-") + ".json")
    }
}
