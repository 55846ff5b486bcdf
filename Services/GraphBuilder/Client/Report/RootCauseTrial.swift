import Foundation
import Model
import Recordings

/// Asks for root causes of the faults that are known in the samples, and counts hits.
///
/// The order is the protocol: all questions are asked and all answers written to a file first; the root causes in the label
/// files are read only then. A question knows the time of a case (and for PetShop its target), nothing else.
struct RootCauseTrial {
    struct Case: Codable, Sendable {
        var recording: String
        var name: String
        /// The three events named, best first.
        var top3: [String]
        /// Rank of the true cause, from 1; nil when it was not named at all, or before the labels were read.
        var rank: Int?
        var rootCause: String?
        var fault: String?
        /// Why the first was named.
        var reason: String
        /// The gate: under 1.5 nothing stands out.
        var strength: Double
    }

    struct Result: Codable, Sendable {
        var recording: String
        var cases: [Case]
        var at1: HitShare
        var at3: HitShare
        var at5: HitShare
    }

    let client: GatewayClient
    let samples: String
    let answersPath: String

    private struct Question: Encodable, Sendable {
        var from: Timestamp
        var to: Timestamp
        var baselineMinutes: Int?
        var baselineFrom: Timestamp?
        var baselineTo: Timestamp?
        var domains: [String]
        var target: Target?
        var topology: String
        var bucketMs: Int64
        var limit = 1_000

        struct Target: Encodable, Sendable {
            var event: String
            var market: String
            var venue: String
        }
    }

    private struct Answer: Codable, Sendable {
        struct Candidate: Codable, Sendable {
            var event: String
            var reason: String
        }
        var ranking: [Candidate]
        var strength: Double
    }

    private struct Asked: Codable, Sendable {
        var recording: String
        var name: String
        var answer: Answer
    }

    private var nezha: String { self.samples + "/services-nezha/2022-08-22" }
    private var petshop: String { self.samples + "/services-petshop/low_traffic" }
    static let names = (nezha: "Nezha Online Boutique 2022-08-22", petshop: "PetShop low traffic")
    static let nezhaDomains = ["call", "k8s-node", "service", "sli"]

    /// - Parameter domains: all domains the system knows.
    func run(domains: [String]) async throws -> [Result] {
        let petshopDomains = domains.filter { $0.hasPrefix("petshop-") }
        guard Self.nezhaDomains.allSatisfy(domains.contains), !petshopDomains.isEmpty else { return [] }
        var asked = try await self.askNezha()
        asked += try await self.askPetShop(domains: petshopDomains)
        let encoder = JSONEncoder()
        encoder.outputFormatting = [.prettyPrinted, .sortedKeys]
        try encoder.encode(asked).write(to: URL(fileURLWithPath: self.answersPath), options: .atomic)
        return try self.score()
    }

    /// The question about the five minutes after a time.
    static func nezhaBody(at time: Timestamp) -> String {
        """
        {"from":"\(time.rfc3339)","to":"\(time.advanced(byMilliseconds: 300_000).rfc3339)","baselineMinutes":120,\
        "domains":["call","k8s-node","service","sli"],"topology":"nezha","limit":3}
        """
    }

    private func askNezha() async throws -> [Asked] {
        var asked: [Asked] = []
        for (index, time) in try LabelFiles.injectionTimes(at: self.nezha + "/faults.csv").enumerated() {
            let question = Question(
                from: time, to: time.advanced(byMilliseconds: 300_000), baselineMinutes: 120,
                domains: Self.nezhaDomains, topology: "nezha", bucketMs: 60_000)
            asked.append(
                Asked(
                    recording: Self.names.nezha, name: "fault \(index + 1)",
                    answer: try await self.client.post("/v1/root-causes", question)))
        }
        return asked
    }

    private func askPetShop(domains: [String]) async throws -> [Asked] {
        let normal = try Self.span(self.petshop + "/normal.csv.gz")
        var asked: [Asked] = []
        for one in try LabelFiles.caseQuestions(at: self.petshop + "/cases.csv") {
            // Periods are open at their start, so that the first sample belongs to the period.
            let question = Question(
                from: one.first.advanced(byMilliseconds: -1), to: one.last,
                baselineFrom: normal.first.advanced(byMilliseconds: -1), baselineTo: normal.last, domains: domains,
                target: .init(event: one.targetEvent, market: one.targetMarket, venue: one.targetVenue),
                topology: "petshop", bucketMs: 300_000)
            asked.append(
                Asked(
                    recording: Self.names.petshop, name: one.name,
                    answer: try await self.client.post("/v1/root-causes", question)))
        }
        return asked
    }

    /// Times of the first and the last row.
    private static func span(_ path: String) throws -> (first: Timestamp, last: Timestamp) {
        let reader = try RecordingReader(path: path)
        guard let row = try reader.next() else {
            throw ClientFailure.unusable("\(path) has no rows")
        }
        var (first, last) = (row.time, row.time)
        while let row = try reader.next() {
            first = min(first, row.time)
            last = max(last, row.time)
        }
        return (first, last)
    }

    /// Reads the answers back from their file, and only now the labels.
    private func score() throws -> [Result] {
        let asked = try JSONDecoder().decode(
            [Asked].self, from: Data(contentsOf: URL(fileURLWithPath: self.answersPath)))
        let faults = try LabelFiles.faults(at: self.nezha + "/faults.csv").map { ($0.rootCause, $0.fault) }
        let cases = try LabelFiles.cases(at: self.petshop + "/cases.csv").map { ($0.rootCause, $0.targetMarket) }
        return [(Self.names.nezha, faults), (Self.names.petshop, cases)].map { recording, truths in
            let scored = zip(asked.filter { $0.recording == recording }, truths).map { asked, truth in
                Case(
                    recording: recording, name: asked.name, top3: asked.answer.ranking.prefix(3).map(\.event),
                    rank: asked.answer.ranking.firstIndex { $0.event == truth.0 }.map { $0 + 1 }, rootCause: truth.0,
                    fault: truth.1, reason: asked.answer.ranking.first?.reason ?? "", strength: asked.answer.strength)
            }
            func hits(_ limit: Int) -> HitShare {
                HitShare(hits: scored.count { ($0.rank ?? .max) <= limit }, of: scored.count)
            }
            return Result(recording: recording, cases: scored, at1: hits(1), at3: hits(3), at5: hits(5))
        }
    }
}
