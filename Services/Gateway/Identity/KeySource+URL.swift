import AsyncHTTPClient
import NIOCore
import NIOHTTP1

extension KeySource {
    /// Keys are read this often without being asked for.
    static let webInterval = Duration.seconds(60)
    static let webTimeout = TimeAmount.seconds(3)

    /// A JWKS on the web.
    static func web(_ url: String, client: HTTPClient, staleAfter: Duration) -> KeySource {
        KeySource(interval: Self.webInterval, staleAfter: staleAfter, mayBeginEmpty: true) { () throws(KeySetError) in
            do {
                let response = try await client.execute(HTTPClientRequest(url: url), timeout: Self.webTimeout)
                guard response.status == .ok else { throw KeySetError("is answered with \(response.status.code)") }
                return Array(try await response.body.collect(upTo: KeySet.sizeLimit).readableBytesView)
            } catch let error as KeySetError {
                throw error
            } catch {
                throw KeySetError("cannot be fetched: \(type(of: error))")
            }
        }
    }
}
