import Model
import ServiceRuntime

extension PageEnd {
    /// Opaque to clients; refused by any other list.
    func cursor(of list: String) -> String {
        KeysetCursor(list: list, keys: [String(self.time.milliseconds), self.id]).text
    }

    /// - Returns: nil without a cursor.
    init?(_ query: QueryParameters, of list: String) throws(Problem) {
        guard let text = query.text("cursor") else { return nil }
        let keys = try KeysetCursor(text, list: list, keyCount: 2).keys
        guard let milliseconds = Int64(keys[0]), Timestamp(milliseconds: milliseconds).isRepresentable else {
            throw Problem(.invalidRequest, detail: "cursor is not one this list has given out")
        }
        self.init(time: Timestamp(milliseconds: milliseconds), id: keys[1])
    }
}
