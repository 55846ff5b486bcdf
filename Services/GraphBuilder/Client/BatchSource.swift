import Model
import NIOCore
import Recordings

/// Cuts a recording into batches: at `size` observations, or, at a given speed, once the next observation is not due yet.
struct BatchSource {
    /// How far apart requests are at a given speed: what is due within this time goes out together.
    private static let tickSeconds = 0.2

    private let reader: RecordingReader
    private let speed: Double
    private let size: Int
    private var lines: ObservationLines
    private var pace: ReplayPace?
    /// Read already, but not due with the batch before.
    private var held: (Observation, line: Int)?

    init(reader: RecordingReader, speed: Double, size: Int, prefix: String) {
        self.reader = reader
        self.speed = speed
        self.size = size
        self.lines = ObservationLines(domainPrefix: prefix)
    }

    /// The next batch, how many observations it has, the lines it spans and when its last observation is due, in seconds
    /// from the start; nil at the end of the recording.
    mutating func next(
        elapsed: Duration
    ) throws -> (body: ByteBuffer, count: Int, lines: ClosedRange<Int>, dueSeconds: Double)? {
        guard let (first, firstLine) = try self.held ?? self.read() else { return nil }
        self.held = nil
        let pace = self.pace ?? ReplayPace(speed: self.speed, originMs: first.time.milliseconds)
        self.pace = pace
        let now = Double(elapsed.components.seconds) + Double(elapsed.components.attoseconds) / 1e18
        let horizon = max(now, pace.dueSeconds(timeMs: first.time.milliseconds)) + Self.tickSeconds
        var lastLine = firstLine
        var due = pace.dueSeconds(timeMs: first.time.milliseconds)
        try self.lines.append(first)
        while self.lines.count < self.size, let (observation, line) = try self.read() {
            let itsDue = pace.dueSeconds(timeMs: observation.time.milliseconds)
            if self.speed > 0, itsDue > horizon {
                self.held = (observation, line)
                break
            }
            try self.lines.append(observation)
            lastLine = line
            due = max(due, itsDue)
        }
        let count = self.lines.count
        return (self.lines.take(), count, firstLine...lastLine, due)
    }

    private mutating func read() throws -> (Observation, line: Int)? {
        guard let observation = try self.reader.next() else { return nil }
        return (observation, self.reader.line)
    }
}
