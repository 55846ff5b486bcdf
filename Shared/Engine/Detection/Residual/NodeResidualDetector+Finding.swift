import Model

extension NodeResidualDetector {
    /// `statistic` and `level` are node scores (nats, 0 ... 50). `values`: `levelSurprise`, `seasonalSurprise`,
    /// `innovationSurprise` (nats, 0 ... 20), `neighbourResidual` (standard deviations), `eventScore`, `value` (source units).
    func finding(
        _ residual: NodeResidual, value: Double, level: Double, eventScore: Double, windowEnd: Timestamp
    ) -> Finding {
        let parts = [
            (residual.level, "its level is unlike its past"),
            (residual.seasonal, "it is unlike the usual value of this time of the period"),
            (residual.innovation, "its last steps are unlike its past ones"),
        ]
        let strongest = parts.max { $0.0 < $1.0 } ?? parts[0]
        let neighbours =
            abs(residual.neighbour) >= 3
            ? "; it is \(Words.number(abs(residual.neighbour))) standard deviations "
                + (residual.neighbour > 0 ? "above" : "below") + " what its neighbours predict"
            : ""
        return Finding(
            kind: .nodeResidual, event: self.event, node: residual.node, windowEnd: windowEnd,
            bucketMs: self.settings.bucketMs, statistic: residual.score, level: level,
            values: [
                "levelSurprise": residual.level, "seasonalSurprise": residual.seasonal,
                "innovationSurprise": residual.innovation, "neighbourResidual": residual.neighbour,
                "eventScore": eventScore, "value": value,
            ],
            reason: "\(residual.node.market) at \(Words.number(value)): \(strongest.1) (surprise "
                + "\(Words.number(strongest.0)) of \(Words.number(NodeMemory.surpriseCap)))" + neighbours)
    }
}
