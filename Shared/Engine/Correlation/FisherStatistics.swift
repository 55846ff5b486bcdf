import CKernels
import Foundation

/// What r and its effective size say about rho, by Fisher's z: atanh(r) is close to normal with mean atanh(rho) and
/// variance 1 / (nEff - 3).
package enum FisherStatistics {
    /// |r| is taken as at most this, so that z stays finite.
    private static let scoreLimit = 0.999_999_999

    static func z(_ score: Double) -> Double { atanh(min(max(score, -self.scoreLimit), self.scoreLimit)) }

    /// Two-sided p of rho = 0; simultaneous over `tests` lags (Sidak) when the lag was chosen on the same data.
    package static func pValue(score: Double, effectiveSize: Double, tests: Int) -> Double {
        let p = erfc(abs(self.z(score)) * max(effectiveSize - 3, 1).squareRoot() / 2.0.squareRoot())
        guard tests > 1 else { return p }
        return p >= 1 ? 1 : -expm1(Double(tests) * log1p(-p))
    }

    /// The two-sided 95 % critical value, simultaneous over `tests` lags.
    package static func criticalValue(tests: Int) -> Double {
        self.normalQuantile(upperTail: -expm1(log(0.95) / Double(max(1, tests))) / 2)
    }

    package static func interval(score: Double, effectiveSize: Double, critical: Double) -> (low: Double, high: Double)
    {
        let half = critical / max(effectiveSize - 3, 1).squareRoot()
        let z = self.z(score)
        // z of a perfect correlation is bounded, and its interval must hold it.
        return (min(score, tanh(z - half)), max(score, tanh(z + half)))
    }

    /// The x that a standard normal exceeds with probability `upperTail` in (0, 0.5]: Newton steps on erfc.
    static func normalQuantile(upperTail: Double) -> Double {
        var x = (-2 * log(upperTail)).squareRoot() * 0.9
        for _ in 0..<60 {
            let tail = 0.5 * erfc(x / 2.0.squareRoot())
            let density = exp(-0.5 * x * x) / (2 * Double.pi).squareRoot()
            let step = (tail - upperTail) / density
            x += min(max(step, -0.5), 0.5)
            if abs(step) < 1e-14 { break }
        }
        return x
    }

    /// P(|rho| > threshold | r, nEff): Fisher's likelihood integrated under a prior flat in rho.
    ///
    /// With zeta = atanh(rho) the flat prior is sech^2(zeta), so this is the ratio of two integrals of a normal density
    /// times sech^2, each by quadrature over +-8.5 standard deviations.
    package static func confidence(score: Double, effectiveSize: Double, threshold: Double) -> Double {
        let z = self.z(abs(score))
        let deviation = 1 / max(effectiveSize - 3, 1).squareRoot()
        let cut = atanh(min(max(threshold, 0), self.scoreLimit))
        let low = z - 8.5 * deviation
        let high = z + 8.5 * deviation
        let inside = kernel_fisher_mass(max(low, -cut), min(high, cut), z, deviation)
        let above = kernel_fisher_mass(max(low, cut), high, z, deviation)
        let below = kernel_fisher_mass(low, min(high, -cut), z, deviation)
        let total = inside + above + below
        return total > 0 ? (above + below) / total : 0
    }

    /// Benjamini-Hochberg q of `pValues` within a family of `size` tests, of which those not listed have p = 1.
    static func qValues(_ pValues: [Double], familySize size: Int) -> [Double] {
        let order = pValues.indices.sorted { (pValues[$0], $0) < (pValues[$1], $1) }
        var result = [Double](repeating: 1, count: pValues.count)
        var least = 1.0
        for rank in order.indices.reversed() {
            least = min(least, pValues[order[rank]] * Double(size) / Double(rank + 1))
            result[order[rank]] = least
        }
        return result
    }
}

extension Double {
    /// Rounded to 9 digits after the point: what all decisions about r are made on.
    var roundedToNine: Double { (self * 1e9).rounded() / 1e9 }

    /// Rounded to 9 significant digits, for numbers of any size.
    var significantNine: Double {
        guard self != 0, self.isFinite else { return self }
        let exponent = 8 - Int(log10(abs(self)).rounded(.down))
        // Beyond 1e300 neither the power nor the product can be represented; such values are left as they are.
        guard abs(exponent) < 300 else { return self }
        let power = pow(10, Double(abs(exponent)))
        return exponent >= 0 ? (self * power).rounded() / power : (self / power).rounded() * power
    }
}
