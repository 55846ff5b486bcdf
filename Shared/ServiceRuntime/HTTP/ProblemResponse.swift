import Foundation
import HTTPTypes
import Hummingbird
import Model
import NIOCore

extension Problem {
    public static let contentType = "application/problem+json"

    /// The problem as a response, with `Retry-After` in whole seconds, rounded up.
    public func response(traceId: String?) -> Response {
        var problem = self
        problem.traceId = problem.traceId ?? traceId
        var headers: HTTPFields = [.contentType: Self.contentType]
        if let seconds = self.retryAfter { headers[.retryAfter] = String(max(1, Int(seconds.rounded(.up)))) }
        if self.status == 401 { headers[.wwwAuthenticate] = "Bearer" }
        let data = (try? APIJSON.encoder().encode(problem)) ?? Data()
        headers[.contentLength] = String(data.count)
        return Response(
            status: HTTPResponse.Status(code: self.status), headers: headers,
            body: ResponseBody(byteBuffer: ByteBuffer(bytes: data)))
    }
}
