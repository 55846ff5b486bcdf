import CLibpq

/// What libpq thinks of a connection string, without connecting.
enum ConnectionString {
    /// - Returns: why libpq refuses it, nil when it does not.
    static func problem(_ text: String) -> String? {
        guard !text.isEmpty else { return "it is empty" }
        guard !text.utf8.contains(0) else { return "it contains a NUL" }
        var message: UnsafeMutablePointer<CChar>?
        let options = PQconninfoParse(text, &message)
        defer {
            PQconninfoFree(options)
            PQfreemem(message)
        }
        guard options == nil else { return nil }
        // libpq quotes parts of the string in its message, a password among them: say only what kind of trouble it is.
        return "it is neither a postgres:// URL nor a list of libpq settings"
    }

    /// `host=... dbname=... password=***`, in libpq's order.
    static func redacted(_ text: String) -> String {
        guard !text.utf8.contains(0), let options = PQconninfoParse(text, nil) else { return "***" }
        defer { PQconninfoFree(options) }
        var parts: [String] = []
        var option = options
        while let keyword = option.pointee.keyword {
            if let value = option.pointee.val {
                let name = String(cString: keyword)
                // libpq marks secrets with the display character "*".
                let isSecret = option.pointee.dispchar.map { $0.pointee == 0x2A } ?? false
                parts.append("\(name)=\(isSecret ? "***" : String(cString: value))")
            }
            option = option.advanced(by: 1)
        }
        return parts.joined(separator: " ")
    }
}
