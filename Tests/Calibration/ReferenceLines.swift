import Foundation

/// What scripts/references reads: one JSON object a line, its `kind` saying what it holds.
struct ReferenceLines {
    private let encoder = JSONEncoder()
    private(set) var data = Data()

    mutating func add(_ line: some Encodable) throws {
        self.data += try self.encoder.encode(line)
        self.data.append(UInt8(ascii: "\n"))
    }
}

extension Sequence<Double> {
    /// JSON has no word for what is not a number.
    var known: [Double?] { self.map { $0.isFinite ? $0 : nil } }
}
