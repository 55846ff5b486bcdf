import Model

/// The request target: path and query.
enum Target {
    /// - Throws: 400 unless it is an absolute path of visible ASCII with at most ``RouteTable/lengthLimit`` bytes.
    static func split(_ target: String?) throws(Problem) -> (path: String, query: Substring?) {
        guard let target, target.utf8.count <= RouteTable.lengthLimit, target.utf8.first == UInt8(ascii: "/"),
            target.utf8.allSatisfy({ (0x21...0x7E).contains($0) && $0 != UInt8(ascii: "#") })
        else { throw Problem(.invalidRequest, detail: "The request target is not well formed.") }
        guard let mark = target.utf8.firstIndex(of: UInt8(ascii: "?")) else { return (target, nil) }
        return (String(target[..<mark]), target[target.index(after: mark)...])
    }
}
