import AsyncHTTPClient
import Foundation
import NIOCore
import NIOHTTP1

/// One question to `/readyz`, three seconds at most.
struct ReadinessProbe {
    let host: String
    let port: Int

    func ask() async -> (isReady: Bool, text: String) {
        let client = HTTPClient(eventLoopGroupProvider: .singleton)
        let name = self.host.contains(":") ? "[\(self.host)]" : self.host
        let answer: (Bool, String)
        do {
            let response = try await client.execute(
                HTTPClientRequest(url: "http://\(name):\(self.port)/readyz"), timeout: .seconds(3))
            let body = try await response.body.collect(upTo: 65_536)
            answer = (
                response.status == .ok,
                String(buffer: body).trimmingCharacters(in: .whitespacesAndNewlines)
            )
        } catch {
            answer = (false, "not ready: \(self.host):\(self.port) does not answer (\(error))")
        }
        try? await client.shutdown()
        return answer
    }
}
