/// Sums in one fixed order without contraction: the same bits on every machine.
enum FixedOrderSum {
    /// Sum of x[t] y[t] over `count` terms: eight interleaved partial sums, joined pairwise.
    @inline(__always)
    static func product(_ x: UnsafePointer<Double>, _ y: UnsafePointer<Double>, _ count: Int) -> Double {
        var a0 = 0.0, a1 = 0.0, a2 = 0.0, a3 = 0.0, a4 = 0.0, a5 = 0.0, a6 = 0.0, a7 = 0.0
        var t = 0
        while t &+ 8 <= count {
            a0 += x[t] * y[t]
            a1 += x[t &+ 1] * y[t &+ 1]
            a2 += x[t &+ 2] * y[t &+ 2]
            a3 += x[t &+ 3] * y[t &+ 3]
            a4 += x[t &+ 4] * y[t &+ 4]
            a5 += x[t &+ 5] * y[t &+ 5]
            a6 += x[t &+ 6] * y[t &+ 6]
            a7 += x[t &+ 7] * y[t &+ 7]
            t &+= 8
        }
        while t < count {
            a0 += x[t] * y[t]
            t &+= 1
        }
        return ((a0 + a4) + (a2 + a6)) + ((a1 + a5) + (a3 + a7))
    }
}
