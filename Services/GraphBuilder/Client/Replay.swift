import Crypto
import Foundation
import Model
import NIOCore
import NIOHTTP1
import Recordings

/// Sends one recording through the gateway's public API.
///
/// Batches carry an `Idempotency-Key` made of the file's hash, the domain prefix and the line numbers they span, so a replay
/// that was cut off can be started again without doubling anything.
struct Replay {
    let client: GatewayClient
    let path: String
    let domainPrefix: String
    /// Recorded seconds per second; 0: as fast as it goes.
    let speed: Double
    /// Observations in a request, at most.
    let batchSize: Int
    /// Requests in flight at once. Above 1 a later batch may be committed before an earlier one, and buckets may close
    /// before all of their data is there.
    let inFlight: Int

    /// What `POST /v1/observations` answers.
    private struct Receipt: Decodable, Sendable {
        var accepted: Int
        var duplicates: Int
        var rejected: Int
    }

    private struct Batch: Sendable {
        var body: ByteBuffer
        var count: Int
        var key: String
    }

    /// - Returns: the summary, and the rows of the file that could not be sent, as text.
    func run() async throws -> (ReplaySummary, badRows: [String]) {
        let (fileHash, fileSize) = try Self.hash(path: self.path)
        let reader = try RecordingReader(path: self.path, badRows: .collect(limit: 20))
        var summary = ReplaySummary(file: self.path)
        var progress = ProgressLine()
        var source = BatchSource(reader: reader, speed: self.speed, size: self.batchSize, prefix: self.domainPrefix)
        let clock = ContinuousClock()
        let start = clock.now
        try await withThrowingTaskGroup(of: (Int, Receipt).self) { group in
            var running = 0
            func settle(_ result: (Int, Receipt)?) {
                guard let (sent, receipt) = result else { return }
                running -= 1
                summary.sent += sent
                summary.accepted += receipt.accepted
                summary.duplicates += receipt.duplicates
                summary.rejected += receipt.rejected
            }
            while let (body, count, lines, dueSeconds) = try source.next(elapsed: clock.now - start) {
                while running >= self.inFlight { settle(try await group.next()) }
                if dueSeconds > 0 { try await clock.sleep(until: start + .seconds(dueSeconds)) }
                let batch = Batch(body: body, count: count, key: self.key(fileHash: fileHash, lines: lines))
                group.addTask { (batch.count, try await self.send(batch)) }
                running += 1
                let seconds = Double((clock.now - start).components.seconds) + 0.001
                progress.show(
                    fraction: Double(reader.bytesRead) / Double(max(1, fileSize)),
                    text: "\(Figure.grouped(summary.sent)) observations, "
                        + "\(Figure.grouped(Int(Double(summary.sent) / max(1, seconds))))/s")
            }
            while running > 0 { settle(try await group.next()) }
        }
        progress.clear()
        let elapsed = clock.now - start
        summary.seconds = Double(elapsed.components.seconds) + Double(elapsed.components.attoseconds) / 1e18
        summary.badRows = reader.badRowCount
        return (summary, reader.badRows.map { "\(self.path), line \($0.line): \($0.rule)" })
    }

    private func send(_ batch: Batch) async throws -> Receipt {
        let answer = try await self.client.send(
            .POST, "/v1/observations",
            headers: [("Content-Type", "application/x-ndjson"), ("Idempotency-Key", batch.key)], body: batch.body)
        do {
            return try JSONDecoder().decode(Receipt.self, from: answer.body)
        } catch {
            throw ClientFailure.unusable("the answer to POST /v1/observations has not the expected form: \(error)")
        }
    }

    /// At most 255 printable ASCII characters, whatever the prefix.
    private func key(fileHash: String, lines: ClosedRange<Int>) -> String {
        let prefix = SHA256.hash(data: Data(self.domainPrefix.utf8)).prefix(4).map { Self.hex($0) }.joined()
        return "replay-\(fileHash)-\(prefix)-\(lines.lowerBound)-\(lines.upperBound)"
    }

    /// The first 16 bytes of SHA-256 of the file, in hexadecimal, and its size.
    private static func hash(path: String) throws -> (String, size: Int) {
        guard let file = FileHandle(forReadingAtPath: path) else {
            throw RecordingError(path: path, reason: .unreadable("no such file, or no permission"))
        }
        defer { try? file.close() }
        var hash = SHA256()
        var size = 0
        while let piece = try file.read(upToCount: 1 << 20), !piece.isEmpty {
            hash.update(data: piece)
            size += piece.count
        }
        return (hash.finalize().prefix(16).map { Self.hex($0) }.joined(), size)
    }

    private static func hex(_ byte: UInt8) -> String { (byte < 16 ? "0" : "") + String(byte, radix: 16) }
}
