import Foundation

/// What one node's past taught, and its next bucket seen against it. O(1) a bucket; no raw history but one period.
///
/// Three components are judged: the level L against a slowly moving centre, what remains of it after the daily profile (R), and
/// what the profile's residual S does not foretell of itself (innovation A = S - phi S', AR(1)). R is the smaller one of S and
/// the difference from yesterday's values within two buckets of this time of day: what happens every day is no news. Sizes are
/// taken in the node's own unit, the root mean square of its first learning rows, and smoothed over four spans at once.
struct NodeMemory: Sendable, Hashable, Codable {
    static let components = 3
    /// Sizes beyond this many units count as it.
    static let sizeLimit = 500.0
    /// A component whose sizes usually reach this has outgrown its unit.
    static let outgrown = 50.0
    /// Buckets by which yesterday may be early or late.
    static let shift = 2
    /// Cap of one component's surprise: without it one wild node outshouts all others.
    static let surpriseCap = 20.0
    /// The level drifts in normal times, so its surprise counts half.
    static let levelShare = 0.5
    /// Spans a node's own score is taken over; the longer ones come late and go late, and so blur who began.
    static let ownSpans = 2
    /// Above this score a bucket teaches little, for at most a period on end: a fault is not learnt, a lasting change is.
    static let barScore = 15.0
    static let barredWeight = 0.1

    private struct Late: Sendable, Hashable, Codable {
        var phase: Int
        var value: Float
    }

    private let birth: Int64
    /// Values are kept relative to the first one, in single precision.
    private let origin: Double
    private(set) var value: Double
    /// By phase, NaN where not seen: the profile, and the value of a period ago.
    private var usual: PackedFloats
    private var yesterday: PackedFloats
    /// The newest values, not yet put into `yesterday`.
    private var late: [Late] = []
    private var centre = 0.0
    private var seen = 0
    private var farthest = 0.0
    private var before = 0.0
    private var product = 0.0
    private var square = 0.0
    /// Sums of squares of the components before the units are known, and their number.
    private var squares = [Double](repeating: 0, count: Self.components)
    private var squared = 0
    /// Of each component; empty until known.
    private var units: [Double] = []
    /// span x component.
    private var smoothed: PackedDoubles
    private var tails: SurpriseTails
    /// Successive buckets above the bar.
    private var barred = 0
    var alarm = ResidualAlarm()

    init(value: Double, bucket: Int64, settings: NodeResidualDetector.Settings) {
        self.birth = bucket
        self.origin = value
        self.value = value
        let phases = [Float](repeating: .nan, count: settings.usablePeriod)
        self.usual = PackedFloats(phases)
        self.yesterday = PackedFloats(phases)
        let statistics = settings.spans.count * Self.components
        self.smoothed = PackedDoubles([Double](repeating: 0, count: statistics))
        self.tails = SurpriseTails(count: statistics)
    }

    func validate(settings: NodeResidualDetector.Settings) throws(DetectorStateError) {
        let (period, statistics) = (settings.usablePeriod, settings.spans.count * Self.components)
        try DetectorStateError.require(
            self.usual.values.count == period && self.yesterday.values.count == period, "profile", "a value a phase")
        try DetectorStateError.require(
            self.late.count <= Self.shift && self.late.allSatisfy { (0..<period).contains($0.phase) }, "newest values",
            "of phases there are")
        try DetectorStateError.require(
            self.squares.count == Self.components && (self.units.isEmpty || self.units.count == Self.components)
                && self.smoothed.values.count == statistics && self.tails.count == statistics, "memory",
            "a number a component")
        try DetectorStateError.require(
            [self.seen, self.squared, self.barred].allSatisfy(DetectorStateError.counts.contains)
                && DetectorStateError.times.contains(self.birth), "memory", "counts within reason")
        try self.tails.validate()
        try self.alarm.validate()
    }

    /// One bucket's components.
    struct Step {
        fileprivate let x: Double
        fileprivate let phase: Int
        fileprivate let period: Int64
        fileprivate let level: Double
        fileprivate let residual: Double
        fileprivate let isKnown: Bool
        fileprivate let components: [Double]
        /// R in units, signed; nil until these are known.
        fileprivate(set) var signed: Double?
    }

    /// Sees the value of a bucket; NaN holds the last one.
    mutating func observe(_ value: Double, bucket: Int64, settings: NodeResidualDetector.Settings) -> Step {
        if value.isFinite { self.value = value }
        let x = Double(Float(self.value - self.origin))
        self.farthest = max(self.farthest, abs(x))
        let length = Int64(settings.usablePeriod)
        let period = length > 0 ? (bucket - self.birth) / length : 0
        let phase = length > 0 ? Int(((bucket % length) + length) % length) : 0
        let level = x - self.centre
        var residual = level
        if length > 0 {
            let usual = Double(self.usual.values[phase])
            residual = period > 0 && usual.isFinite ? x - usual : 0
        }
        let rest = period > 0 ? self.remaining(of: residual, x: x, phase: phase) : residual
        let isKnown = length > 0 ? period > 0 : self.seen > 0
        let innovation = isKnown ? residual - self.product / max(self.square, 1e-12) * self.before : 0
        var step = Step(
            x: x, phase: phase, period: period, level: level, residual: residual, isKnown: isKnown,
            components: [level, rest, innovation], signed: nil)
        guard !self.units.isEmpty else { return step }
        for (span, gain) in settings.gains.enumerated() {
            for component in 0..<Self.components {
                let size = min(abs(step.components[component]) / self.units[component], Self.sizeLimit)
                self.smoothed.values[span * Self.components + component] +=
                    (size - self.smoothed.values[span * Self.components + component]) * gain
            }
        }
        step.signed = min(Self.sizeLimit, max(-Self.sizeLimit, rest / self.units[1]))
        return step
    }

    /// The smaller one of S and the difference from about this time yesterday.
    private func remaining(of residual: Double, x: Double, phase: Int) -> Double {
        var nearest = Double.infinity
        let length = self.yesterday.values.count
        for shift in -Self.shift...Self.shift {
            let past = Double(self.yesterday.values[((phase + shift) % length + length) % length])
            if past.isFinite, abs(x - past) < abs(nearest) { nearest = x - past }
        }
        return abs(nearest) < abs(residual) ? nearest : residual
    }

    /// Surprises at that of the two short spans where their sum is largest, and the largest sum over all spans.
    struct Scores {
        var level = 0.0
        var seasonal = 0.0
        var innovation = 0.0
        /// Half the level's surprise and the others, 0 ... 50.
        var score = 0.0
        var wide = 0.0
    }

    /// Nil before enough was learnt.
    func scores(settings: NodeResidualDetector.Settings) -> Scores? {
        let taught = (0..<Self.components).map {
            self.tails.mass($0) > 0 && self.tails.mass($0) >= settings.leastTaught
        }
        guard taught.contains(true) else { return nil }
        var best = Scores()
        for span in settings.spans.indices {
            func surprise(_ component: Int) -> Double {
                guard taught[component] else { return 0 }
                let statistic = span * Self.components + component
                return min(Self.surpriseCap, self.tails.surprise(self.smoothed.values[statistic], of: statistic))
            }
            let (level, seasonal, innovation) = (surprise(0), surprise(1), surprise(2))
            let sum = Self.levelShare * level + seasonal + innovation
            best.wide = max(best.wide, sum)
            if span < Self.ownSpans, sum > best.score {
                best.level = level
                best.seasonal = seasonal
                best.innovation = innovation
                best.score = sum
            }
        }
        return best
    }

    /// Learns from the step. `score`: the node's own; nil: none yet.
    mutating func learn(
        _ step: Step, score: Double?, bucket: Int64, settings: NodeResidualDetector.Settings
    ) {
        self.barred = (score ?? 0) > Self.barScore ? self.barred + 1 : 0
        let isBarred = self.barred > 0 && self.barred < settings.refreshBuckets
        let weight = isBarred ? Self.barredWeight : 1
        if !self.units.isEmpty {
            for statistic in 0..<self.tails.count {
                self.tails.add(self.smoothed.values[statistic], to: statistic, weight: weight)
            }
        } else if step.isKnown {
            for component in 0..<Self.components {
                self.squares[component] += step.components[component] * step.components[component]
            }
            self.squared += 1
        }
        if step.isKnown {
            let kept = 1 - 1 / settings.memory
            self.product = self.product * kept + weight * step.residual * self.before
            self.square = self.square * kept + weight * self.before * self.before
        }
        self.before = step.residual
        self.seen += 1
        self.follow(step, settings: settings)
        if self.units.isEmpty, bucket - self.birth + 1 >= Int64(settings.unitBuckets) { self.fixUnits() }
    }

    /// Moves centre, profile and yesterday.
    private mutating func follow(_ step: Step, settings: NodeResidualDetector.Settings) {
        if let unit = self.units.first {
            // A wild value moves the centre no further than a large one.
            self.centre += settings.centreGain * min(2 * unit, max(-2 * unit, step.level))
        } else {
            self.centre += step.level / Double(self.seen)
        }
        guard !self.usual.values.isEmpty else { return }
        let usual = Double(self.usual.values[step.phase])
        if step.period == 0 || !usual.isFinite {
            self.usual.values[step.phase] = Float(step.x)
        } else {
            self.usual.values[step.phase] = Float(usual + max(0.1, 1 / Double(step.period + 1)) * step.residual)
        }
        self.late.append(Late(phase: step.phase, value: Float(step.x)))
        if self.late.count > Self.shift {
            let past = self.late.removeFirst()
            self.yesterday.values[past.phase] = past.value
        }
    }

    /// A node that never moved has the smallest unit there is: whatever it does next is large.
    private mutating func fixUnits() {
        self.units = self.squares.map {
            max(($0 / Double(max(self.squared, 1))).squareRoot(), 1e-4 * self.farthest, 1e-12)
        }
    }

    /// Lets what was seen count. A node that rested while its units were fixed, and moves now, gets new ones.
    mutating func refresh(settings: NodeResidualDetector.Settings) {
        self.tails.refresh(memory: settings.memory)
        for component in self.units.indices where self.tails.cut(component) > Self.outgrown {
            let growth = self.tails.cut(component)
            self.units[component] *= growth
            for span in settings.spans.indices {
                let statistic = span * Self.components + component
                self.smoothed.values[statistic] /= growth
                self.tails.forget(statistic)
            }
        }
    }
}
