import Crypto
import Model

/// The name of a graph's content: two graphs with one id have the same edges to the last digit.
public enum GraphIdentity {
    /// Changes whenever the same observations and settings could give other numbers.
    public static let engineVersion = "6"

    /// Hex SHA-256 (64 characters) over engine version, configuration, window end, layer states and a digest of the observations.
    ///
    /// - Parameters:
    ///   - configuration: one text for equal settings (profiles and thresholds).
    ///   - digest: the sum over the buckets of every node that took part, see ``Digest128``.
    public static func id(
        event: String, configuration: String, windowEnd: Timestamp, layers: [LayerReport],
        digest: Digest128
    ) -> String {
        var hash = SHA256()
        func add(_ text: String) {
            // Length first, so that no two different lists of texts feed the same bytes.
            hash.update(data: Array("\(text.utf8.count):\(text)".utf8))
        }
        add(Self.engineVersion)
        add(event)
        add(configuration)
        add(String(windowEnd.milliseconds))
        for layer in layers.sorted(by: { $0.layer < $1.layer }) {
            add("\(layer.layer.code) \(layer.state.rawValue)")
            add(layer.reason ?? "")
        }
        add(digest.hex)
        return Self.hex(hash.finalize())
    }

    /// A strong entity tag (RFC 9110, 8.8.3), quotes included: the graph's id and a hash of the filter.
    public static func entityTag(id: String, filter: GraphFilter) -> String {
        "\"\(id)-\(Self.hex(SHA256.hash(data: Array(filter.canonicalText.utf8))).prefix(12))\""
    }

    private static func hex(_ bytes: some Sequence<UInt8>) -> String {
        let digits = Array("0123456789abcdef".utf8)
        var text: [UInt8] = []
        for byte in bytes {
            text.append(digits[Int(byte >> 4)])
            text.append(digits[Int(byte & 15)])
        }
        return String(decoding: text, as: UTF8.self)
    }
}
