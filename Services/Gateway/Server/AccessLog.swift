import CoreMetrics
import Dispatch
import Foundation
import NIOCore
import Synchronization
import Telemetry

/// Where the lines of the access log go: event loops hand over batches, one queue writes them, and no request waits for it.
///
/// Bounded: when the reader of standard error is slower than requests come, batches are dropped and counted.
final class AccessLog: Sendable {
    static let backlogLimit = 8 << 20

    let format: LogFormat
    /// False: no line is made at all.
    let isOn: Bool
    private let service: String
    private let write: @Sendable (ByteBuffer) -> Void
    private let queue = DispatchQueue(label: "undercurrent.access-log")
    private let backlog = Atomic<Int>(0)
    private let dropped: Counter

    init(
        service: String, format: LogFormat, isOn: Bool, metrics: any MetricsFactory = MetricsSystem.factory,
        write: @escaping @Sendable (ByteBuffer) -> Void = AccessLog.toStandardError
    ) {
        self.service = service
        self.format = format
        self.isOn = isOn
        self.write = write
        self.dropped = Counter(label: "gateway_access_log_dropped_bytes_total", dimensions: [], factory: metrics)
    }

    func submit(_ batch: ByteBuffer) {
        let size = batch.readableBytes
        guard size > 0 else { return }
        guard self.backlog.add(size, ordering: .relaxed).newValue <= Self.backlogLimit else {
            self.backlog.subtract(size, ordering: .relaxed)
            self.dropped.increment(by: Int64(size))
            return
        }
        self.queue.async {
            self.write(batch)
            self.backlog.subtract(size, ordering: .relaxed)
        }
    }

    /// Returns when everything handed over before has been written.
    func drain() async {
        await withCheckedContinuation { continuation in self.queue.async { continuation.resume() } }
    }

    /// - Parameter time: RFC 3339.
    func append(_ record: AccessRecord, time: String, now: Int64, to buffer: inout ByteBuffer) {
        switch self.format {
        case .json:
            buffer.write(room: 1_024) { writer in
                writer.write("{\"time\":\"")
                writer.write(time)
                writer.write("\",\"level\":\"info\",\"service\":\"")
                writer.write(self.service)
                writer.write("\",\"message\":\"access\",\"metadata\":")
                record.write(json: &writer, now: now)
                writer.write("}\n")
            }
        case .text:
            let milliseconds = Double((now - record.startedAt) / 10_000) / 100
            buffer.writeString(
                "\(time) INFO \(self.service): \(record.status) \(AccessRecord.safe(record.method)) \(record.route) "
                    + "\(milliseconds) ms caller=\(AccessRecord.safe(record.caller)) code=\(record.code) "
                    + "upstream=\(record.upstream) trace=\(record.trace.traceID) \(record.interruption)\n")
        }
    }

    @Sendable static func toStandardError(_ batch: ByteBuffer) {
        FileHandle.standardError.write(Data(batch.readableBytesView))
    }
}
