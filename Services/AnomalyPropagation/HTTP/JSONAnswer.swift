import Foundation
import HTTPTypes
import Hummingbird
import Model
import NIOCore
import ServiceRuntime

extension Response {
    /// A value by the JSON conventions of the API.
    static func json(_ value: some Encodable) throws -> Response {
        let data = try APIJSON.encoder().encode(value)
        return Response(
            status: .ok, headers: [.contentType: "application/json; charset=utf-8"],
            body: ResponseBody(byteBuffer: ByteBuffer(bytes: data)))
    }
}

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
