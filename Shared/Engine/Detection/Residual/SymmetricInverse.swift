/// Inverse of a symmetric positive definite matrix by Cholesky factors.
enum SymmetricInverse {
    /// - Parameter matrix: d x d, row-major.
    /// - Returns: nil when the matrix is not positive definite. Cost O(d^3).
    static func invert(_ matrix: [Double], size: Int) -> [Double]? {
        var lower = matrix
        for column in 0..<size {
            var pivot = lower[column * size + column]
            for k in 0..<column { pivot -= lower[column * size + k] * lower[column * size + k] }
            guard pivot > 0 else { return nil }
            let root = pivot.squareRoot()
            lower[column * size + column] = root
            for row in column + 1..<max(size, column + 1) {
                var sum = lower[row * size + column]
                for k in 0..<column { sum -= lower[row * size + k] * lower[column * size + k] }
                lower[row * size + column] = sum / root
            }
        }
        var inverse = [Double](repeating: 0, count: size * size)
        var solution = [Double](repeating: 0, count: size)
        for column in 0..<size {
            for row in 0..<size {
                var sum = row == column ? 1.0 : 0
                for k in 0..<row { sum -= lower[row * size + k] * solution[k] }
                solution[row] = sum / lower[row * size + row]
            }
            for row in stride(from: size - 1, through: 0, by: -1) {
                var sum = solution[row]
                for k in row + 1..<max(size, row + 1) { sum -= lower[k * size + row] * solution[k] }
                solution[row] = sum / lower[row * size + row]
            }
            for row in 0..<size { inverse[row * size + column] = solution[row] }
        }
        return inverse
    }
}
