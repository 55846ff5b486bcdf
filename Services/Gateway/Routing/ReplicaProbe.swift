import AsyncHTTPClient
import Logging
import Model
import NIOCore
import NIOHTTP1
import ServiceLifecycle

/// Asks every replica again and again whether it is ready, so that one that stops, starts or stands still is left alone before a
/// request has met it.
///
/// A round asks each replica once and the next one begins a second after it did, or when all have answered or not: no replica is
/// ever asked twice at a time, and at most ``concurrency`` are asked at once.
struct ReplicaProbe: Service {
    static let interval = Duration.seconds(1)
    /// For the whole answer.
    static let timeout = Duration.milliseconds(500)
    /// Replicas of a service that are asked.
    static let replicaLimit = 256
    static let concurrency = 32

    let directory: ServiceDirectory
    let logger: Logger
    /// Asks one replica, by its base URL.
    let check: @Sendable (String) async -> ReplicaBook.Check

    func run() async throws {
        await cancelWhenGracefulShutdown {
            var known: [String: ReplicaBook.Check] = [:]
            while !Task.isCancelled {
                let next = ContinuousClock.now + Self.interval
                known = await self.round(known)
                do { try await Task.sleep(until: next) } catch { return }
            }
        }
    }

    /// - Returns: what was found, by base URL.
    func round(_ before: [String: ReplicaBook.Check]) async -> [String: ReplicaBook.Check] {
        var addresses: Set<String> = []
        for upstream in [Upstream.graphBuilder, .anomalyPropagation] {
            addresses.formUnion(self.directory.addresses(of: upstream).prefix(Self.replicaLimit))
        }
        let check = self.check
        return await withTaskGroup(of: (String, ReplicaBook.Check).self) { group in
            var found: [String: ReplicaBook.Check] = [:]
            var running = 0
            func takeOne() async {
                guard let (address, outcome) = await group.next() else { return }
                running -= 1
                found[address] = outcome
                guard !Task.isCancelled else { return }
                self.directory.checked(address, outcome)
                if outcome != before[address] ?? .ready {
                    self.logger.info(
                        "readiness of a replica changed", metadata: ["replica": "\(address)", "now": "\(outcome)"])
                }
            }
            for address in addresses {
                if running >= Self.concurrency { await takeOne() }
                group.addTask { (address, await check(address)) }
                running += 1
            }
            while running > 0 { await takeOne() }
            return found
        }
    }

    /// Asks `/readyz`.
    static func asking(_ client: HTTPClient) -> @Sendable (String) async -> ReplicaBook.Check {
        { address in
            await withTaskGroup(of: ReplicaBook.Check.self) { group in
                group.addTask { await Self.ask(client, address) }
                // The time limit of the client ends with the head.
                group.addTask {
                    try? await Task.sleep(for: Self.timeout)
                    return .unanswered
                }
                let check = await group.next() ?? .unanswered
                group.cancelAll()
                return check
            }
        }
    }

    private static func ask(_ client: HTTPClient, _ address: String) async -> ReplicaBook.Check {
        do {
            let answer = try await client.execute(
                HTTPClientRequest(url: address + "/readyz"), timeout: TimeAmount(Self.timeout))
            // So that the connection can be used again.
            _ = try? await answer.body.collect(upTo: 64 << 10)
            switch answer.status.code {
            case 200..<300: return .ready
            case 503: return .unready
            default: return .unanswered
            }
        } catch {
            return .unanswered
        }
    }
}
