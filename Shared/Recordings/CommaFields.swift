/// Splits one line at commas; a field in double quotes may contain commas, and `""` for a quote (RFC 4180).
enum CommaFields {
    /// - Returns: nil when a quote is not closed or something follows a closing one.
    static func split(_ line: ArraySlice<UInt8>) -> [ArraySlice<UInt8>]? {
        guard line.contains(0x22) else { return line.split(separator: 0x2C, omittingEmptySubsequences: false) }
        var fields: [ArraySlice<UInt8>] = []
        var rest = line
        while true {
            guard rest.first == 0x22 else {
                let end = rest.firstIndex(of: 0x2C) ?? rest.endIndex
                fields.append(rest[rest.startIndex..<end])
                guard end < rest.endIndex else { return fields }
                rest = rest[(end + 1)...]
                continue
            }
            var field: [UInt8] = []
            var index = rest.startIndex + 1
            while true {
                guard let quote = rest[index...].firstIndex(of: 0x22) else { return nil }
                field.append(contentsOf: rest[index..<quote])
                index = quote + 1
                guard index < rest.endIndex, rest[index] == 0x22 else { break }
                field.append(0x22)
                index += 1
            }
            fields.append(field[...])
            guard index < rest.endIndex else { return fields }
            guard rest[index] == 0x2C else { return nil }
            rest = rest[(index + 1)...]
        }
    }

    /// - Returns: nil when the bytes are not UTF-8.
    static func text(_ field: ArraySlice<UInt8>) -> String? { String(validating: field, as: UTF8.self) }
}
