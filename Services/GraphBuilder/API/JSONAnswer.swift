import Foundation
import HTTPTypes
import Hummingbird
import NIOCore
import ServiceRuntime

/// Any encodable value as a 200 answer in the API's JSON.
enum JSONAnswer {
    static func response(_ value: some Encodable) throws -> Response {
        let data = try APIJSON.encoder().encode(value)
        return Response(
            status: .ok, headers: [.contentType: "application/json", .contentLength: String(data.count)],
            body: ResponseBody(byteBuffer: ByteBuffer(bytes: data)))
    }
}
