import Foundation

/// Numbers that are stored as their bytes (little endian, base64 in JSON): exact for every value, NaN and infinity included,
/// and a third of the size of
/// decimal text. Equal means equal bits.
struct PackedDoubles: Sendable, Hashable, Codable {
    var values: [Double]

    static func == (left: Self, right: Self) -> Bool {
        left.values.elementsEqual(right.values) { $0.bitPattern == $1.bitPattern }
    }

    func hash(into hasher: inout Hasher) { for value in self.values { hasher.combine(value.bitPattern) } }

    init(_ values: [Double]) { self.values = values }

    init(from decoder: any Decoder) throws {
        let data = try decoder.singleValueContainer().decode(Data.self)
        self.values = try PackedBytes.words(data, of: UInt64.self, decoder).map { Double(bitPattern: $0) }
    }

    func encode(to encoder: any Encoder) throws {
        var container = encoder.singleValueContainer()
        try container.encode(PackedBytes.data(self.values.map(\.bitPattern)))
    }
}

/// ``PackedDoubles`` of half the width.
struct PackedFloats: Sendable, Hashable, Codable {
    var values: [Float]

    static func == (left: Self, right: Self) -> Bool {
        left.values.elementsEqual(right.values) { $0.bitPattern == $1.bitPattern }
    }

    func hash(into hasher: inout Hasher) { for value in self.values { hasher.combine(value.bitPattern) } }

    init(_ values: [Float]) { self.values = values }

    init(from decoder: any Decoder) throws {
        let data = try decoder.singleValueContainer().decode(Data.self)
        self.values = try PackedBytes.words(data, of: UInt32.self, decoder).map { Float(bitPattern: $0) }
    }

    func encode(to encoder: any Encoder) throws {
        var container = encoder.singleValueContainer()
        try container.encode(PackedBytes.data(self.values.map(\.bitPattern)))
    }
}

private enum PackedBytes {
    static func data<Word: FixedWidthInteger>(_ words: [Word]) -> Data {
        words.map(\.littleEndian).withUnsafeBytes { Data($0) }
    }

    static func words<Word: FixedWidthInteger>(
        _ data: Data, of type: Word.Type, _ decoder: any Decoder
    ) throws -> [Word] {
        let width = MemoryLayout<Word>.size
        guard data.count % width == 0 else {
            throw DecodingError.dataCorrupted(
                .init(codingPath: decoder.codingPath, debugDescription: "expected whole numbers of \(width) bytes"))
        }
        return data.withUnsafeBytes { bytes in
            (0..<data.count / width).map {
                Word(littleEndian: bytes.loadUnaligned(fromByteOffset: $0 * width, as: Word.self))
            }
        }
    }
}
