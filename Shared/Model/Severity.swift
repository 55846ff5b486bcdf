/// How surely an edge exceeds its layer's threshold, in three words.
public enum ConfidenceBand: String, CaseIterable, Sendable, Codable {
    case high = "HIGH"
    case medium = "MEDIUM"
    case low = "LOW"

    /// HIGH above 0.9, MEDIUM above 0.6, else LOW.
    public init(confidence: Double) {
        self = confidence > 0.9 ? .high : confidence > 0.6 ? .medium : .low
    }
}

/// Confidence and strength together; `severity_level` in storage and `severity` in the API.
public enum Severity: String, CaseIterable, Sendable, Codable {
    case critical = "CRITICAL"
    case high = "HIGH"
    case medium = "MEDIUM"
    case low = "LOW"

    /// CRITICAL: confidence > 0.9 and |r| > 0.7; HIGH: > 0.6 and > 0.5; MEDIUM: confidence > 0.3; else LOW.
    public init(confidence: Double, score: Double) {
        let strength = abs(score)
        if confidence > 0.9, strength > 0.7 {
            self = .critical
        } else if confidence > 0.6, strength > 0.5 {
            self = .high
        } else {
            self = confidence > 0.3 ? .medium : .low
        }
    }
}
