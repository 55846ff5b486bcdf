import Foundation

/// Inputs that are kept: a folder per target beside the suite, a file per input, its name saying what is special about it.
///
/// `.hex` files hold hexadecimal digits, `.txt` files the input as text with `\r`, `\n`, `\t`, `\\` and `\x00` for what cannot be
/// seen; the line ends of either file mean nothing, and what follows a `#` that begins a line is a comment.
package struct FuzzCorpus {
    package struct Input {
        package let name: String
        package let bytes: [UInt8]
    }

    private let folder: URL

    /// - Parameter file: the file of the suite; the inputs lie in the folder `Corpus` beside it.
    package init(beside file: String = #filePath) {
        self.folder = URL(filePath: file).deletingLastPathComponent().appending(path: "Corpus")
    }

    /// The inputs of a target in the order of their names.
    /// - Throws: when there is no such folder, or a file is not written as it must be.
    package func inputs(_ target: String) throws -> [Input] {
        let folder = self.folder.appending(path: target)
        return try FileManager.default.contentsOfDirectory(at: folder, includingPropertiesForKeys: nil)
            .sorted { $0.lastPathComponent < $1.lastPathComponent }
            .compactMap { file in
                let text = try String(contentsOf: file, encoding: .utf8).split(separator: "\n")
                    .filter { !$0.hasPrefix("#") }.joined()
                switch file.pathExtension {
                case "hex": return Input(name: file.lastPathComponent, bytes: Self.bytes(hex: text))
                case "txt": return Input(name: file.lastPathComponent, bytes: try Self.bytes(text: text))
                default: return nil
                }
            }
    }

    package static func hex(_ bytes: [UInt8]) -> String { bytes.map { String(format: "%02x", $0) }.joined() }

    static func bytes(hex text: String) -> [UInt8] {
        let digits = text.compactMap(\.hexDigitValue)
        return stride(from: 0, to: digits.count - 1, by: 2).map { UInt8(digits[$0] * 16 + digits[$0 + 1]) }
    }

    struct BadEscape: Error { let text: String }

    static func bytes(text: String) throws(BadEscape) -> [UInt8] {
        var bytes: [UInt8] = []
        var rest = Substring(text).utf8
        while let byte = rest.popFirst() {
            guard byte == UInt8(ascii: "\\") else {
                bytes.append(byte)
                continue
            }
            switch rest.popFirst() {
            case UInt8(ascii: "r"): bytes.append(0x0D)
            case UInt8(ascii: "n"): bytes.append(0x0A)
            case UInt8(ascii: "t"): bytes.append(0x09)
            case UInt8(ascii: "\\"): bytes.append(0x5C)
            case UInt8(ascii: "x"):
                guard rest.count >= 2, let value = UInt8(String(decoding: rest.prefix(2), as: UTF8.self), radix: 16)
                else { throw BadEscape(text: text) }
                bytes.append(value)
                rest = rest.dropFirst(2)
            default: throw BadEscape(text: text)
            }
        }
        return bytes
    }
}
