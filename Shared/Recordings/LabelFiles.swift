import Model

/// An injected fault of a recording and its root cause (`faults.csv`).
public struct RecordedFault: Hashable, Sendable {
    public let injectedAt: Timestamp
    public let rootCause: String
    public let fault: String

    public init(injectedAt: Timestamp, rootCause: String, fault: String) {
        self.injectedAt = injectedAt
        self.rootCause = rootCause
        self.fault = fault
    }
}

/// One case: a short recording of a fault, seen at a target (`cases.csv`).
public struct RecordedCase: Hashable, Sendable {
    public let name: String
    public let split: String
    public let targetEvent: String
    public let targetMarket: String
    public let targetVenue: String
    /// When the alarm fired, not when the fault began.
    public let issuedAt: Timestamp
    /// Times of the first and the last sample.
    public let first: Timestamp
    public let last: Timestamp
    public let rootCause: String
}

/// What may be known of a case before it is answered: everything in `cases.csv` but the root cause.
public struct RecordedCaseQuestion: Hashable, Sendable {
    public let name: String
    public let targetEvent: String
    public let targetMarket: String
    public let targetVenue: String
    /// Times of the first and the last sample.
    public let first: Timestamp
    public let last: Timestamp
}

/// One call edge (`graph.csv`).
public struct RecordedCall: Hashable, Sendable {
    public let caller: String
    public let callee: String
}

/// A labelled anomaly of one entity (`labels.csv`).
public struct RecordedLabel: Hashable, Sendable {
    public let entity: String
    public let start: Timestamp
    public let end: Timestamp
    /// Node names, `event|market|venue`.
    public let nodes: [String]
}

/// Where the test part of an entity starts (`entities.csv`).
public struct RecordedEntity: Hashable, Sendable {
    public let entity: String
    public let trainStart: Timestamp
    public let testStart: Timestamp
    public let end: Timestamp
    public let stepMs: Int64
}

/// Readers of the small tables that lie beside recordings. Each checks the header and names the line of a bad row.
public enum LabelFiles {
    public static func faults(at path: String) throws(RecordingError) -> [RecordedFault] {
        try Table.rows(at: path, columns: "inject_ts,root_cause_event,fault") { row throws(ValidationError) in
            RecordedFault(injectedAt: try row.time(0), rootCause: row[1], fault: row[2])
        }
    }

    public static func cases(at path: String) throws(RecordingError) -> [RecordedCase] {
        try Table.rows(
            at: path,
            columns: "case,split,target_event,target_market,target_venue,issue_ts,first_ts,last_ts,root_cause_event"
        ) { row throws(ValidationError) in
            RecordedCase(
                name: row[0], split: row[1], targetEvent: row[2], targetMarket: row[3], targetVenue: row[4],
                issuedAt: try row.time(5), first: try row.time(6), last: try row.time(7), rootCause: row[8])
        }
    }

    /// The injection times alone, for asking without knowing the answers.
    public static func injectionTimes(at path: String) throws(RecordingError) -> [Timestamp] {
        try Table.rows(at: path, columns: "inject_ts,root_cause_event,fault") { row throws(ValidationError) in
            try row.time(0)
        }
    }

    /// The cases without their root causes, for asking without knowing the answers.
    public static func caseQuestions(at path: String) throws(RecordingError) -> [RecordedCaseQuestion] {
        try Self.cases(at: path).map {
            RecordedCaseQuestion(
                name: $0.name, targetEvent: $0.targetEvent, targetMarket: $0.targetMarket, targetVenue: $0.targetVenue,
                first: $0.first, last: $0.last)
        }
    }

    public static func calls(at path: String) throws(RecordingError) -> [RecordedCall] {
        try Table.rows(at: path, columns: "caller,callee") { row in RecordedCall(caller: row[0], callee: row[1]) }
    }

    public static func labels(at path: String) throws(RecordingError) -> [RecordedLabel] {
        try Table.rows(at: path, columns: "entity,start_ts,end_ts,nodes") { row throws(ValidationError) in
            RecordedLabel(
                entity: row[0], start: try row.time(1), end: try row.time(2),
                nodes: row[3].split(separator: ";").map(String.init))
        }
    }

    public static func entities(at path: String) throws(RecordingError) -> [RecordedEntity] {
        try Table.rows(
            at: path,
            columns:
                "entity,train_start_ts,test_start_ts,end_ts,step_ms,metrics,train_rows,test_rows,anomaly_points,anomaly_segments"
        ) { row throws(ValidationError) in
            RecordedEntity(
                entity: row[0], trainStart: try row.time(1), testStart: try row.time(2), end: try row.time(3),
                stepMs: try row.integer(4))
        }
    }
}
