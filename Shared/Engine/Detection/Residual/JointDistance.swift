import Foundation

/// How far the nodes of an event are from each other's company: z'Kz for their signed residuals z, K the inverse of
/// 0.9 R + 0.1 I with R their correlations so far. O(d^2) a bucket, O(d^3) a refresh.
struct JointDistance: Sendable, Hashable, Codable {
    /// How much of the identity is mixed into the correlation matrix before it is inverted.
    static let ridge = 0.1
    static let limit = 1e5
    /// Residuals teach no more than this many units.
    static let taught = 10.0

    private(set) var width = 0
    /// width x width: sums of products of residuals, and K.
    private var products = PackedFloats([])
    private var precision = PackedDoubles([])
    private var smoothed = 0.0
    private var tail = SurpriseTails(count: 1)

    func validate(width: Int) throws(DetectorStateError) {
        try DetectorStateError.require(
            self.width == width && self.products.values.count == width * width
                && self.precision.values.count == width * width && self.tail.count == 1, "joint distance",
            "a row and a column a node")
        try self.tail.validate()
    }

    /// Makes room for nodes: `places` are their columns in the new, wider layout, ascending.
    mutating func insertColumns(at places: [Int]) {
        let width = self.width + places.count
        let added = Set(places)
        let old = (0..<width).filter { !added.contains($0) }
        var products = [Float](repeating: 0, count: width * width)
        var precision = [Double](repeating: 0, count: width * width)
        for node in places { precision[node * width + node] = 1 }
        for (row, newRow) in old.enumerated() {
            for (column, newColumn) in old.enumerated() {
                products[newRow * width + newColumn] = self.products.values[row * self.width + column]
                precision[newRow * width + newColumn] = self.precision.values[row * self.width + column]
            }
        }
        self.products.values = products
        self.precision.values = precision
        self.width = width
    }

    /// Takes in the signed residuals of a bucket (0 where none is known).
    ///
    /// - Returns: leave-one-out residuals, how far each node is from what all others predict, in standard deviations:
    ///   (Kz)_j / sqrt(K_jj); and the surprise of the smoothed distance, 0 before enough was learnt.
    mutating func observe(
        _ signed: [Double], known: Int, settings: NodeResidualDetector.Settings
    ) -> (neighbours: [Double], surprise: Double) {
        let width = self.width
        var neighbours = [Double](repeating: 0, count: width)
        var distance = 0.0
        self.precision.values.withUnsafeBufferPointer { matrix in
            for row in 0..<width {
                var sum = 0.0
                for column in 0..<width { sum += matrix[row * width + column] * signed[column] }
                distance += sum * signed[row]
                neighbours[row] = sum / matrix[row * width + row].squareRoot()
            }
        }
        guard known > 0 else { return (neighbours, 0) }
        self.smoothed += (min(Self.limit, max(0, distance)) - self.smoothed) * settings.gains[1]
        let size = (self.smoothed / Double(known)).squareRoot()
        let isTaught = self.tail.mass(0) > 0 && self.tail.mass(0) >= settings.leastTaught
        let surprise = isTaught ? self.tail.surprise(size, of: 0) : 0
        self.tail.add(size, to: 0, weight: 1)
        self.teach(signed)
        return (neighbours, surprise)
    }

    private mutating func teach(_ signed: [Double]) {
        let width = self.width
        let values = signed.map { Float(min(Self.taught, max(-Self.taught, $0))) }
        self.products.values.withUnsafeMutableBufferPointer { products in
            for row in 0..<width where values[row] != 0 {
                for column in 0..<width { products[row * width + column] += values[row] * values[column] }
            }
        }
    }

    mutating func refresh(settings: NodeResidualDetector.Settings) {
        self.tail.refresh(memory: settings.memory)
        let width = self.width
        // As far as the tail forgets, so do the products.
        if self.tail.mass(0) >= settings.memory * (1 - 1e-6) {
            let kept = Float(1 - Double(settings.refreshBuckets) / (settings.memory + Double(settings.refreshBuckets)))
            for index in self.products.values.indices { self.products.values[index] *= kept }
        }
        var mixed = [Double](repeating: 0, count: width * width)
        for one in 0..<width {
            mixed[one * width + one] = 1
            for other in one + 1..<max(width, one + 1) {
                let norm =
                    Double(self.products.values[one * width + one])
                    * Double(self.products.values[other * width + other])
                let r = norm > 0 ? Double(self.products.values[one * width + other]) / norm.squareRoot() : 0
                mixed[one * width + other] = (1 - Self.ridge) * r
                mixed[other * width + one] = mixed[one * width + other]
            }
        }
        // Positive definite: a Gram matrix of unit vectors scaled by 0.9, plus 0.1 on the diagonal.
        guard let inverse = SymmetricInverse.invert(mixed, size: width) else { return }
        self.precision.values = inverse
    }
}
