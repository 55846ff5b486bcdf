import NIOCore
import NIOHPACK

/// The head of a request, whatever it was carried by.
struct RequestHead: Sendable {
    enum Version: String, Sendable { case http1_0 = "1.0", http1_1 = "1.1", http2 = "2" }

    /// How long the body is, as the head says.
    enum Framing: Hashable, Sendable {
        case none
        case length(Int)
        case chunked
        /// HTTP/2 need not announce a body.
        case open
    }

    let method: String
    let target: String
    let authority: String?
    let version: Version
    var fields: FieldBlock
    let framing: Framing
    /// Whether the connection may carry another request after this one.
    let isKeepAlive: Bool
}

/// Why a request cannot be read at all.
enum HeadRefusal: Error, Hashable, Sendable {
    case malformed(StaticText)
    case tooLarge

    /// A text that is a literal of ours.
    struct StaticText: Hashable, Sendable, ExpressibleByStringLiteral {
        let text: String
        init(stringLiteral value: StaticString) { self.text = value.description }
    }
}

/// The bytes that HTTP allows where.
enum HTTPBytes {
    /// RFC 9110, section 5.6.2.
    static func isToken(_ byte: UInt8) -> Bool {
        switch byte {
        case 0x61...0x7A, 0x41...0x5A, 0x30...0x39, 0x2D, 0x5F, 0x21, 0x23...0x27, 0x2A, 0x2B, 0x2E, 0x5E, 0x60, 0x7C,
            0x7E:
            true
        default: false
        }
    }

    /// Visible, blank, tab or not ASCII: no control character.
    static func isValue(_ byte: UInt8) -> Bool { byte >= 0x20 ? byte != 0x7F : byte == 0x09 }

    /// - Returns: nil unless `text` is 1 to 18 digits.
    static func length(_ text: String) -> Int? {
        var text = text
        return text.withUTF8 { self.length(UnsafeRawBufferPointer($0)) }
    }

    static func length(_ digits: UnsafeRawBufferPointer) -> Int? {
        guard (1...18).contains(digits.count) else { return nil }
        var length = 0
        for digit in digits {
            guard (0x30...0x39).contains(digit) else { return nil }
            length = length * 10 + Int(digit - 0x30)
        }
        return length
    }

    /// The first byte from `start` on that no value may have; the end when there is none. Eight at a time: values are most of
    /// a head, and a token is hundreds of bytes.
    static func valueEnd(_ bytes: UnsafeRawBufferPointer, from start: Int) -> Int {
        let (ones, tops) = (0x0101_0101_0101_0101 as UInt64, 0x8080_8080_8080_8080 as UInt64)
        var index = start
        while index + 8 <= bytes.count {
            let piece = bytes.loadUnaligned(fromByteOffset: index, as: UInt64.self)
            // Bytes below 0x20, and bytes that are 0x7F: the top bit of at least one of them is set, and of none without them.
            let isLow = (piece &- ones &* 0x20) & ~piece
            let deleted = piece ^ (ones &* 0x7F)
            guard (isLow | ((deleted &- ones) & ~deleted)) & tops == 0 else { break }
            index += 8
        }
        while index < bytes.count, Self.isValue(bytes[index]) { index += 1 }
        return index
    }
}

extension RequestHead {
    /// Reads an HTTP/2 header block whose pseudo-fields the library has checked.
    init(_ headers: HPACKHeaders, isEnded: Bool) throws(HeadRefusal) {
        var fields = FieldBlock(table: HopByHop.requestTable)
        var method: String?
        var target: String?
        var authority: String?
        for (name, value, _) in headers {
            guard value.utf8.allSatisfy(HTTPBytes.isValue) else {
                throw .malformed("a field value has a control character")
            }
            switch name {
            case ":method": method = value
            case ":path": target = value
            case ":authority": authority = value
            case _ where name.utf8.first == 0x3A: continue
            default:
                guard !name.isEmpty, name.utf8.allSatisfy(HTTPBytes.isToken) else {
                    throw .malformed("a field name is no token")
                }
                fields.append(name, value)
            }
        }
        guard let method, let target else { throw .malformed("there is no method or no path") }
        self.method = method
        self.target = target
        self.authority = authority ?? fields.first(.host)
        self.version = .http2
        let lengths = fields.values(.contentLength)
        guard lengths.count <= 1 else { throw .malformed("the length of the body is declared twice") }
        if isEnded {
            self.framing = .none
        } else if let text = lengths.first {
            guard let length = HTTPBytes.length(text) else { throw .malformed("Content-Length is no whole number") }
            self.framing = .length(length)
        } else {
            self.framing = .open
        }
        self.fields = fields
        self.isKeepAlive = true
    }
}
