import HTTPTypes
import Hummingbird
import NIOCore

extension Response {
    /// A value by the JSON conventions of the API.
    public static func json(_ value: some Encodable) throws -> Response {
        Response.json(bytes: try APIJSON.bytes(value))
    }

    static func json(bytes: ByteBuffer) -> Response {
        Response(status: .ok, headers: Self.jsonFields(bytes), body: ResponseBody(byteBuffer: bytes))
    }

    static func jsonFields(_ bytes: ByteBuffer) -> HTTPFields {
        [.contentType: "application/json", .contentLength: String(bytes.readableBytes)]
    }
}
