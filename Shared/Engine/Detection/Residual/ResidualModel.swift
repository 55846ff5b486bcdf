import Foundation

/// What the residual detector has learnt from a history, frozen until the next refresh.
///
/// Three components of each of d nodes are judged: its level, what remains of it after the daily profile (seasonal residual
/// S), and the part of S its own last value does not foretell (innovation A = S - phi S', AR(1)). Each is standardised by its
/// mean and sd while learning, |z| is capped at 50 and averaged over the last w buckets, and the average is compared with its
/// own past by ``SurpriseTail``.
struct ResidualModel: Sendable, Hashable, Codable {
    static let components = 3
    static let zLimit = 50.0
    /// Cap of one component's surprise: without it one wild node outshouts all others.
    static let surpriseCap = 20.0
    /// How much of the identity is mixed into the correlation matrix before it is inverted.
    static let ridge = 0.1
    static let leastSd = 1e-4
    static let distanceLimit = 1e5

    /// Whether S is what the daily profile leaves; else it is the level less its mean while learning.
    let usesProfile: Bool
    /// Columns of the scored nodes in the history's layout. Count: k.
    var columns: [Int]
    /// Buckets averaged over.
    let smoothing: Int
    /// Taken off S: 0 with a profile. Count: k.
    var origin: [Double]
    /// AR(1) coefficient of S. Count: k.
    var phi: [Double]
    /// Mean and sd, component-major: `component * k + node`. Count: 3 k.
    var mean: [Double]
    var sd: [Double]
    var tails: [SurpriseTail]
    /// Inverse of 0.9 R + 0.1 I, k x k, R the correlations of standardised S.
    var precision: PackedDoubles
    var distanceTail: SurpriseTail
    /// Event scores of the rows learnt from: their 99.5 % quantile, above which a row does not teach.
    var guardLevel: Double

    var count: Int { self.columns.count }

    /// |z| of a row for all components, and the signed z of S (used for the neighbour terms).
    ///
    /// - Parameters: values, residual, and previous residual (NaN: none, the innovation counts as 0) of the scored nodes, k
    ///   each; without a profile the residuals are the values.
    func standardise(
        values: [Double], residual: [Double], previous: [Double]
    ) -> (sizes: [Double], seasonal: [Double]) {
        let k = self.count
        var sizes = [Double](repeating: 0, count: Self.components * k)
        var seasonal = [Double](repeating: 0, count: k)
        for node in 0..<k {
            let left = residual[node] - self.origin[node]
            let before = previous[node] - self.origin[node]
            let innovation = before.isFinite ? left - self.phi[node] * before : 0
            let level = (values[node] - self.mean[node]) / self.sd[node]
            let rest = (left - self.mean[k + node]) / self.sd[k + node]
            let news = (innovation - self.mean[2 * k + node]) / self.sd[2 * k + node]
            sizes[node] = Self.size(level)
            sizes[k + node] = Self.size(rest)
            sizes[2 * k + node] = Self.size(news)
            seasonal[node] = rest.isFinite ? rest : 0
        }
        return (sizes, seasonal)
    }

    private static func size(_ z: Double) -> Double { z.isFinite ? min(abs(z), Self.zLimit) : 0 }

    /// K z for the precision matrix K, and z'Kz in 0 ... 1e5.
    func neighbours(of seasonal: [Double]) -> (product: [Double], distance: Double) {
        let k = self.count
        var product = [Double](repeating: 0, count: k)
        var distance = 0.0
        self.precision.values.withUnsafeBufferPointer { matrix in
            for row in 0..<k {
                var sum = 0.0
                for column in 0..<k { sum += matrix[row * k + column] * seasonal[column] }
                product[row] = sum
                distance += sum * seasonal[row]
            }
        }
        return (product, min(Self.distanceLimit, max(0, distance)))
    }

    /// How far each node is from what all others predict, in standard deviations: (K z)_j / sqrt(K_jj).
    func leaveOneOut(product: [Double]) -> [Double] {
        let k = self.count
        return (0..<k).map { product[$0] / self.precision.values[$0 * k + $0].squareRoot() }
    }

    /// Surprises of smoothed sizes, capped, component-major.
    func surprises(of smoothed: [Double]) -> [Double] {
        smoothed.indices.map { min(Self.surpriseCap, self.tails[$0].surprise(smoothed[$0])) }
    }

    /// ln(1 + mean of squared node scores) + 0.5 ln(1 + surprise of the joint distance).
    ///
    /// - Parameter meanDistance: mean of z'Kz over the last w buckets.
    func eventScore(nodeScores: [Double], meanDistance: Double) -> Double {
        guard !nodeScores.isEmpty else { return 0 }
        let square = nodeScores.reduce(0) { $0 + $1 * $1 } / Double(nodeScores.count)
        let distance = (meanDistance / Double(self.count)).squareRoot()
        return log1p(square) + 0.5 * log1p(self.distanceTail.surprise(distance))
    }
}
