import AsyncHTTPClient
import HTTPTypes
import NIOCore

/// A service's answer, ready to go to the client.
struct UpstreamAnswer: Sendable {
    enum Body: Sendable {
        case none
        case whole(ByteBuffer)
        /// Still coming in; `length` in bytes when the service declared it.
        case stream(HTTPClientResponse.Body, length: Int?)
    }

    let status: Int
    let fields: HTTPFields
    let body: Body
    /// Base URL of the replica that answered.
    let replica: String
}
