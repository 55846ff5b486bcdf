import Foundation
import Tracing

/// Spans as OTLP/HTTP JSON (opentelemetry-proto, `ExportTraceServiceRequest`, JSON mapping: ids in hexadecimal, 64-bit numbers
/// as texts).
enum OTLPEncoding {
    static func body(_ spans: [FinishedSpan], service: String, version: String) -> Data {
        let request: [String: Any] = [
            "resourceSpans": [
                [
                    "resource": [
                        "attributes": [
                            Self.attribute("service.name", "stringValue", service),
                            Self.attribute("service.version", "stringValue", version),
                        ]
                    ],
                    "scopeSpans": [["scope": ["name": "undercurrent"], "spans": spans.map(Self.span)]],
                ]
            ]
        ]
        // Only dictionaries, arrays, texts, finite numbers and Booleans are put in, so this cannot fail.
        return (try? JSONSerialization.data(withJSONObject: request, options: .sortedKeys)) ?? Data()
    }

    private static func span(_ span: FinishedSpan) -> [String: Any] {
        var object: [String: Any] = [
            "traceId": span.trace.traceID.description, "spanId": span.trace.spanID.description,
            "name": span.name, "kind": Self.kind(span.kind),
            "startTimeUnixNano": String(span.startNanoseconds), "endTimeUnixNano": String(span.endNanoseconds),
            "attributes": Self.attributes(span.attributes),
            "events": span.events.map { event -> [String: Any] in
                [
                    "name": event.name, "timeUnixNano": String(event.nanosecondsSinceEpoch),
                    "attributes": Self.attributes(event.attributes),
                ]
            },
            "links": span.links.map { link -> [String: Any] in
                ["traceId": link.traceID.description, "spanId": link.spanID.description]
            },
        ]
        if let parent = span.parent { object["parentSpanId"] = parent.description }
        if !span.trace.state.isEmpty { object["traceState"] = span.trace.state.header }
        if let status = span.status {
            var entry: [String: Any] = ["code": status.code == .error ? 2 : 1]
            if let message = status.message { entry["message"] = message }
            object["status"] = entry
        }
        return object
    }

    private static func kind(_ kind: SpanKind) -> Int {
        switch kind {
        case .internal: 1
        case .server: 2
        case .client: 3
        case .producer: 4
        case .consumer: 5
        }
    }

    private static func attributes(_ attributes: SpanAttributes) -> [[String: Any]] {
        var list: [(String, [String: Any])] = []
        attributes.forEach { key, value in list.append((key, Self.value(key, value))) }
        return list.sorted { $0.0 < $1.0 }.map(\.1)
    }

    private static func value(_ key: String, _ value: SpanAttribute) -> [String: Any] {
        switch value {
        case .int32(let number): Self.attribute(key, "intValue", String(number))
        case .int64(let number): Self.attribute(key, "intValue", String(number))
        case .double(let number) where number.isFinite: Self.attribute(key, "doubleValue", number)
        case .bool(let flag): Self.attribute(key, "boolValue", flag)
        case .string(let text): Self.attribute(key, "stringValue", text)
        case .stringConvertible(let some): Self.attribute(key, "stringValue", "\(some)")
        default: Self.attribute(key, "stringValue", "\(value)")
        }
    }

    private static func attribute(_ key: String, _ type: String, _ value: Any) -> [String: Any] {
        ["key": key, "value": [type: value]]
    }
}
