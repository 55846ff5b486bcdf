import Foundation
import Logging
import Model

/// Writes one line per event. Fields of the JSON form, in this order: `time`, `level`, `service`, `message`, `trace_id`,
/// `span_id` (where there is a trace), `error` (where there is one), then `metadata` as an object of texts.
public struct LineLogHandler: LogHandler {
    /// Longest message or metadata value, in bytes; the rest is cut off.
    static let textLimit = 8_192

    public var metadata: Logger.Metadata = [:]
    public var metadataProvider: Logger.MetadataProvider?
    public var logLevel: Logger.Level
    private let label: String
    private let service: String
    private let format: LogFormat
    private let write: @Sendable (String) -> Void

    /// - Parameter write: gets whole lines with their line feed; the default is one `write(2)` to standard error each.
    public init(
        label: String, service: String, level: Logger.Level, format: LogFormat,
        metadataProvider: Logger.MetadataProvider? = nil,
        write: @escaping @Sendable (String) -> Void = Self.toStandardError
    ) {
        self.label = label
        self.service = service
        self.logLevel = level
        self.format = format
        self.metadataProvider = metadataProvider
        self.write = write
    }

    public subscript(metadataKey key: String) -> Logger.Metadata.Value? {
        get { self.metadata[key] }
        set { self.metadata[key] = newValue }
    }

    public func log(event: LogEvent) {
        var metadata = self.metadata
        if let provided = self.metadataProvider?.get() { metadata.merge(provided) { _, new in new } }
        if let own = event.metadata { metadata.merge(own) { _, new in new } }
        metadata["logger"] = self.label == self.service ? nil : .string(self.label)
        let time = Timestamp(milliseconds: WallClock.milliseconds()).rfc3339
        let error = event.error.map { "\($0)" }
        switch self.format {
        case .json:
            self.write(self.jsonLine(time: time, event: event, error: error, metadata: metadata))
        case .text:
            self.write(self.textLine(time: time, event: event, error: error, metadata: metadata))
        }
    }

    private func jsonLine(time: String, event: LogEvent, error: String?, metadata: Logger.Metadata) -> String {
        var rest = metadata
        var line = "{\"time\":\"\(time)\",\"level\":\"\(event.level.rawValue)\",\"service\":"
        JSONText.append(self.service, to: &line)
        line += ",\"message\":"
        JSONText.append(event.message.description, to: &line, limit: Self.textLimit)
        for key in ["trace_id", "span_id"] {
            guard let value = rest.removeValue(forKey: key) else { continue }
            line += ",\"\(key)\":"
            JSONText.append(value.description, to: &line, limit: Self.textLimit)
        }
        if let error {
            line += ",\"error\":"
            JSONText.append(error, to: &line, limit: Self.textLimit)
        }
        if !rest.isEmpty {
            line += ",\"metadata\":{"
            for (index, entry) in rest.sorted(by: { $0.key < $1.key }).enumerated() {
                if index > 0 { line += "," }
                JSONText.append(entry.key, to: &line, limit: Self.textLimit)
                line += ":"
                JSONText.append(entry.value.description, to: &line, limit: Self.textLimit)
            }
            line += "}"
        }
        return line + "}\n"
    }

    private func textLine(time: String, event: LogEvent, error: String?, metadata: Logger.Metadata) -> String {
        var line = "\(time) \(event.level.rawValue.uppercased()) \(self.service): \(event.message)"
        if let error { line += " error=\(error)" }
        for (key, value) in metadata.sorted(by: { $0.key < $1.key }) { line += " \(key)=\(value)" }
        // A line stays a line, whatever a value holds. Scalar by scalar, because CR LF is one character.
        var escaped = ""
        for scalar in line.unicodeScalars {
            switch scalar {
            case "\n": escaped += "\\n"
            case "\r": escaped += "\\r"
            default: escaped.unicodeScalars.append(scalar)
            }
        }
        return escaped + "\n"
    }

    /// Standard error, whole lines at once, so that lines of threads do not mix.
    @Sendable public static func toStandardError(_ line: String) {
        FileHandle.standardError.write(Data(line.utf8))
    }
}
